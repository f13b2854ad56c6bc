"""What a rule between fields is; see `rules`, which holds them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `path` has [] for every item and ** for every field and element below; `field` is where the error points."""

    path: str
    cel: str
    message: str
    remedy: str
    field: str = ""


def unique(path: str) -> Rule:
    """Names differ in more than upper and lower case: SQL doesn't tell those apart."""
    return Rule(
        path=path,
        cel="self.all(a, self.all(b, a.name == b.name || a.name.lowerAscii() != b.name.lowerAscii()))",
        message="two names differ only in upper and lower case, which SQL doesn't tell apart",
        remedy="Rename one of the two.",
    )


def member(path: str, type_: str, member: str, *, optional: bool = False) -> Rule:
    """A member of a union is set exactly when `type` names it; an optional one at most then."""
    is_type = f"self.type == '{type_}'"
    cel = f"{is_type} || !has(self.{member})" if optional else f"({is_type}) == has(self.{member})"
    message = f"belongs to type {type_} alone" if optional else f"must be set when type is {type_}, and only then"
    return Rule(
        path=path,
        cel=cel,
        message=message,
        remedy=f"Set it with type {type_}, and leave it out with every other type.",
        field=f".{member}",
    )


_HAS_PASSWORD = "self.type in ['ScramSha512', 'Plain']"  # noqa: S105 - a rule's text


def cluster(path: str) -> tuple[Rule, ...]:
    """How Penstock shows the brokers who it is."""
    return (
        *(
            Rule(
                path=f"{path}.authentication",
                cel=f"({_HAS_PASSWORD}) == has(self.{member})",
                message="must be set when type is ScramSha512 or Plain, and only then",
                remedy="These two types need username and passwordSecretRef; the others take neither.",
                field=f".{member}",
            )
            for member in ("username", "passwordSecretRef")
        ),
        member(f"{path}.authentication", "Tls", "secretRef"),
        Rule(
            path=path,
            cel="self.authentication.type != 'Tls' || has(self.tls)",
            message="is missing, and authentication by certificate needs TLS",
            remedy="Set tls, if need be with caSecretRef; `tls: {}` trusts the system's authorities.",
            field=".tls",
        ),
    )
