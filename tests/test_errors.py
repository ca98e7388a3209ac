"""No error shows the password of an address; errors of full memory are recognised."""

import pytest

from keras_parts import errors
from keras_parts.errors import DataError, escape_controls, hide_secrets, is_out_of_memory


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
        ("s3://KEY:se/cr#et?@bucket/a: failed", "s3://***@bucket/a: failed"),
        ("http://host:80/a@b.png, http://h:80, a@b", "http://host:80/a@b.png, http://h:80, a@b"),
        ("http://host: me@example.org", "http://host: me@example.org"),
        ("http://[::1]:80/a@b.png", "http://[::1]:80/a@b.png"),
        ("https://h/a?pwd=secret&jwt=secret&id=1", "https://h/a?pwd=***&jwt=***&id=1"),
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


class OpError(Exception):
    """As TensorFlow names the base of its errors."""


class ResourceExhaustedError(OpError):
    pass


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (MemoryError("Unable to allocate 3 GiB"), True),
        (ResourceExhaustedError("OOM when allocating tensor with shape[9,9]"), True),
        (OpError("MemoryError: in a Python function"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."), True),  # JAX
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),  # PyTorch
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
        (DataError("out of memory"), False),
        (KeyboardInterrupt("out of memory"), False),
    ],
)
def test_full_memory_is_recognised(error, is_full):
    assert is_out_of_memory(error) == is_full


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("bird\u202egpj.exe", "bird\\u202egpj.exe"),
        ("a\u2028b\x85c\rd", "a\\u2028b\\x85c\\rd"),
        ("caf\udce9.jpg", "caf\\udce9.jpg"),
        ("größe\t鳥 🐦\nعصفور", "größe\t鳥 🐦\nعصفور"),
    ],
)
def test_nothing_commands_a_terminal(text, shown):
    assert escape_controls(text) == shown


def test_long_messages_lose_their_middle():
    message = str(DataError(f"card.json: about is {'x' * 100_000}, expected a line"))
    assert len(message) < 5000
    assert message.startswith("card.json: about is xxx")
    assert message.endswith("xxx, expected a line")
