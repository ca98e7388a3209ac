"""No error shows the password of an address."""

import pytest

from keras_parts import errors
from keras_parts.errors import hide_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host/a", "https://***@host/a"),
        ("s3://KEY:secret@bucket/a: failed", "s3://***@bucket/a: failed"),
        ("https://ghp_secret@host/a", "https://***@host/a"),
        ("https://me:se@cret@host/a and ftp://a:secret@b", "https://***@host/a and ftp://***@b"),
        ("https://h/a?X-Amz-Signature=secret&part=1", "https://h/a?X-Amz-Signature=***&part=1"),
        ("https://h/a?sv=1&sig=secret", "https://h/a?sv=1&sig=***"),
        ("'https://h/a?access_token=secret'", "'https://h/a?access_token=***'"),
        ("https://host/a@b.png", "https://host/a@b.png"),
        ("https://host/search?q=me@example.org", "https://host/search?q=me@example.org"),
        ("me@example.org, C:/a?key=1", "me@example.org, C:/a?key=1"),
    ],
)
def test_secrets_of_addresses_are_hidden(text, shown):
    assert hide_secrets(text) == shown


def test_errors_hide_them_in_message_and_attributes():
    url = "https://me:secret@host/a?token=secret"
    for error in (
        errors.KerasPartsError(f"{url}: wrong", path=url),
        errors.DataError(f"{url}: wrong", path=url),
        errors.ConfigError(f"{url}: wrong", value=url),
        errors.IntegrityError(f"{url}: wrong", path=url),
        errors.DownloadError(f"{url}: wrong", url=url),
        errors.UntrustedAddressError(f"{url}: wrong", address=url),
        errors.UnknownModelError(f"{url}: wrong", model=url),
    ):
        assert "secret" not in f"{error} {vars(error)}", type(error)
