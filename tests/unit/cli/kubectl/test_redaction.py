"""What is taken out of a support bundle."""

from __future__ import annotations

import base64
import json
from urllib import parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cli.kubectl import redaction

_SECRETS = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=6, max_size=40)


@settings(max_examples=200)
@given(secret=_SECRETS, before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_form_of_a_known_value_is_left(secret: str, before: str, after: str) -> None:
    """Catches a secret in JSON, in a URL or in base64 that is looked for as it is only."""
    redactor = redaction.Redactor([secret])
    forms = [secret, json.dumps(secret)[1:-1], parse.quote(secret, safe=""), base64.b64encode(secret.encode()).decode()]
    for form in forms:
        assert form not in redactor.cleaned(f"{before} {form} {after}").replace(redaction.REMOVED, "")


@pytest.mark.parametrize(
    ("text", "gone", "kept"),
    [
        ("postgres://reader:hunter22@db:5432/web", "hunter22", "db:5432/web"),
        ("Authorization: Bearer abcdef123456", "abcdef123456", "Authorization"),
        ('{"password": "hunter22", "user": "reader"}', "hunter22", '"user": "reader"'),
        ("password=hunter22 host=db", "hunter22", "host=db"),
        ("api_key: hunter22", "hunter22", "api_key"),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0x.c2lnbmF0dXJl back", "c2lnbmF0dXJl", "back"),
        ("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----", "MIIB", "END PRIVATE KEY"),
    ],
    ids=str,
)
def test_what_looks_like_a_secret_is_taken_out(text: str, gone: str, kept: str) -> None:
    """Catches a password that no Secret of the pipeline holds."""
    cleaned = redaction.Redactor().cleaned(text)
    assert gone not in cleaned
    assert kept in cleaned


@pytest.mark.parametrize(
    "text",
    [
        '{"secret": {"secretName": "clicks-token", "optional": true}}',
        '"secretRef": {"name": "ch"}',
        "--token-file /var/run/penstock/token/token",
        "https://clickhouse:8443/web",
        '"token": null',
    ],
    ids=str,
)
def test_what_only_names_a_secret_stays(text: str) -> None:
    """Catches a bundle in which nobody can see which Secret is missing."""
    assert redaction.Redactor().cleaned(text) == text


def test_the_longer_of_two_goes_first_and_a_tiny_one_takes_nothing() -> None:
    """Catches the rest of a secret that begins like another one, and a value `a` that eats every log."""
    assert redaction.Redactor(["secret", "secret-and-more", "a"]).cleaned("a secret-and-more b") == "a [removed] b"
