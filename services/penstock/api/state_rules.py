"""The rules of `spec.transform.state`; see `rules`, which holds all others."""

from __future__ import annotations

from typing import Final

from penstock.api import rule

_MOST_LAST_VALUES: Final = 800_000
"""Of 1,024 bytes each at most: what one snapshot may hold."""

STATE: Final = (
    rule.unique("spec.transform.state.values"),
    rule.Rule(
        path="spec.transform.state.values[]",
        cel="(self.type != 'Count') == has(self.field)",
        message="must be set when type is Sum or Last, and only then",
        remedy="Name the field that is summed or remembered; a Count has none.",
        field=".field",
    ),
    rule.Rule(
        path="spec.transform.state",
        cel=f"self.maxKeysPerPartition * self.values.filter(v, v.type == 'Last').size() <= {_MOST_LAST_VALUES}",
        message="times the values of type Last is more than 800,000, and what is remembered is written down whole",
        remedy="Remember fewer keys, or fewer values of type Last.",
        field=".maxKeysPerPartition",
    ),
    rule.Rule(
        path="spec",
        cel="!has(self.transform.state) || has(self.schema)",
        message="needs fields for its key, and no schema is declared",
        remedy="Declare the key's fields under spec.schema.fields.",
        field=".transform.state",
    ),
    rule.Rule(
        path="spec",
        cel="!has(self.transform.state) || !has(self.schema) || self.transform.state.key.all(k, "
        "self.schema.fields.exists(f, f.name == k && f.required && !(f.type in ['Json', 'List', 'Struct'])))",
        message="names a field that isn't declared, may be left out, or is a Json, List or Struct",
        remedy="Use declared fields of the other types, with required: true on each.",
        field=".transform.state.key",
    ),
    rule.Rule(
        path="spec",
        cel="!has(self.transform.state) || !has(self.schema) || self.transform.state.values.all(v, v.type != 'Sum' || "
        "!has(v.field) || self.schema.fields.exists(f, f.name == v.field && f.type in ['Int32', 'Int64']))",
        message="has a Sum over something that isn't a declared field of type Int32 or Int64",
        remedy="Declare the field so, or correct its name.",
        field=".transform.state.values",
    ),
    rule.Rule(
        path="spec",
        cel="!has(self.transform.state) || !has(self.schema) || self.transform.state.values.all(v, v.type != 'Last' || "
        "!has(v.field) || self.schema.fields.exists(f, f.name == v.field && !(f.type in ['List', 'Struct'])))",
        message="has a Last of something that isn't a declared field, or is a List or Struct",
        remedy="Correct the name, or remember a field of another type.",
        field=".transform.state.values",
    ),
    rule.Rule(
        path="spec",
        cel="!has(self.transform.state) || !has(self.schema) || self.transform.state.values.all(v, "
        "self.schema.fields.all(f, f.name != v.name) && self.transform.variables.all(w, w.name != v.name))",
        message="a value has the name of a field or of a variable",
        remedy="Choose names that neither has.",
        field=".transform.state.values",
    ),
    rule.Rule(
        path="spec",
        cel="!has(self.transform.state) || has(self.source.kafka) || "
        "((has(self.source.ingest) && has(self.source.ingest.partitionBy)) ? "
        "self.source.ingest.partitionBy.all(p, p in self.transform.state.key) : "
        "!has(self.deduplicate) || self.deduplicate.key.all(k, k in self.transform.state.key))",
        message="lacks a field by which events are partitioned, so that equal keys could end up in different partitions",
        remedy="Set source.ingest.partitionBy to fields of the state's key (it is deduplicate.key when left out).",
        field=".transform.state.key",
    ),
)
