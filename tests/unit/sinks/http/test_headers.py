"""The headers of a request."""

import pytest

from penstock.core import results
from penstock.sinks import port
from penstock.sinks.http import headers


def header(name, value, *, secret=False):
    return headers.Header(name=name, read=lambda: value, secret=secret)


def test_ours_may_be_replaced_and_secrets_are_known():
    """Catches two content types in one request, and a secret that is shown because nobody knew it was one."""
    told = [header("content-type", "application/vnd.x+json"), header("Authorization", "Bearer abc", secret=True)]
    prepared = headers.prepare(told, content_type="application/json")
    assert prepared.fields["content-type"] == "application/vnd.x+json"
    assert [name.lower() for name in prepared.fields].count("content-type") == 1
    assert prepared.fields["Authorization"] == "Bearer abc"
    assert list(prepared.secrets) == ["Bearer abc"]


def test_a_renewed_secret_is_used_without_a_restart():
    """Catches values read once: an expired token would stay expired."""
    values = iter(["old", "new"])
    told = [headers.Header(name="X", read=lambda: next(values), secret=True)]
    assert [headers.prepare(told, content_type="t").fields["X"] for _ in range(2)] == ["old", "new"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nEvil: yes"),
        ("X", "secret\n"),
        ("X", "a\x00b"),
        ("Content-Length", "0"),
        ("transfer-encoding", "chunked"),
    ],
)
def test_what_would_break_the_request_is_refused_without_showing_it(name, value):
    """Catches header injection through a secret, a frame that lies about its body, and a secret in an error."""
    with pytest.raises(port.SinkError, match=name) as caught:
        headers.prepare([header(name, value, secret=True)], content_type="t")
    assert caught.value.failure.result_class is results.ResultClass.CONFIG
    assert value.strip() not in caught.value.failure.message
    assert caught.value.failure.remedy
