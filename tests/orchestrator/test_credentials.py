from __future__ import annotations

import json
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.credentials import looks_like_credentials, without_credentials

# Made up; each of the shape that its issuer gives it.
AWS_ID, AWS_KEY = "AKIA" + "QX4TESTTESTTEST7", "wJalr/XUtnFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY"
GITHUB = "ghp_" + "a1B2" * 9
HUGGING_FACE = "hf_" + "Ab3dEf9h" * 4
OPENAI = "sk-proj-" + "T3BlbkFJ" * 5
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0." + "dozjgNryP4J3jVmNHl0w5N"
SLACK = "xoxb-" + "123456789012-abcdefGHIJ"
DATABRICKS = "dapi" + "0123456789abcdef" * 2
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"

ADDRESSES = {
    f"s3://{AWS_ID}:abcdef@bucket/results": "s3://bucket/results",
    f"s3://{AWS_ID}:{AWS_KEY}@bucket/results": "s3://bucket/results",
    "s3://key:secret@bucket?endpoint_override=localhost:9000": (
        "s3://bucket?endpoint_override=localhost:9000"
    ),
    "http://ann:pass@127.0.0.1:5000": "http://127.0.0.1:5000",
    "https://ann:p@ss@mlflow.example.org/x": "https://mlflow.example.org/x",
    f"https://{GITHUB}@github.com/me/it.git": "https://github.com/me/it.git",
    "http://ann@host:5000/": "http://host:5000/",
    "postgresql+psycopg2://mlflow:pw%40x@db:5432/mlflow": "postgresql+psycopg2://db:5432/mlflow",
    "redis://:pw@localhost:6379": "redis://localhost:6379",
    "http://u:p@[::1]:5000/a": "http://[::1]:5000/a",
    "http://h/x?access_key=AB1&secret_key=CD2&region=eu": (
        "http://h/x?access_key=***&secret_key=***&region=eu"
    ),
    "http://h/x?token=ab#top": "http://h/x?token=***",
    "https://a.blob.core.windows.net/c?sv=2022&sig=aB%2Fc": (
        "https://a.blob.core.windows.net/c?sv=2022&sig=***"
    ),
    "https://h/o?X-Amz-Signature=0a&X-Amz-Security-Token=b&X-Amz-Date=1": (
        "https://h/o?X-Amz-Signature=***&X-Amz-Security-Token=***&X-Amz-Date=1"
    ),
}
SECRETS = {
    **dict.fromkeys([AWS_ID, GITHUB, HUGGING_FACE, OPENAI, JWT, SLACK, DATABRICKS, PEM], "***"),
    f"AWS_SECRET_ACCESS_KEY={AWS_KEY}": "AWS_SECRET_ACCESS_KEY=***",
    f"aws_secret_access_key = {AWS_KEY}": "aws_secret_access_key = ***",
    "MLFLOW_TRACKING_PASSWORD=hunter2": "MLFLOW_TRACKING_PASSWORD=***",
    "MLFLOW_TRACKING_PASSWORD='two words'": "MLFLOW_TRACKING_PASSWORD='***'",
    'DB_PASSWORD="two words"': 'DB_PASSWORD="***"',
    "DB_PASSWORD: hunter2": "DB_PASSWORD: ***",
    "pwd=hunter2": "pwd=***",
    "HF_TOKEN=abcdefghijklmnop": "HF_TOKEN=***",
    "client_secret='x1'": "client_secret='***'",
    "Authorization: Basic dXNlcjpw": "Authorization: Basic ***",
    "authorization=bearer abcdef": "authorization=bearer ***",
    f"Bearer {'aB3' * 9}": "Bearer ***",
    json.dumps({"password": "hunter2"}): json.dumps({"password": "***"}),
    str({"api_key": "0123abcd"}): str({"api_key": "***"}),
    "sessionToken: Ab12Cd34": "sessionToken: ***",
    "Name=me;AccountKey=Zm9vYmFyYmF6cXV4==;Suffix=x": "Name=me;AccountKey=***;Suffix=x",
    f"connect(password='{AWS_KEY}')": "connect(password='***')",
}
ORDINARY = [
    "",
    "0123456789abcdef" * 4,
    "a232534ff1b2c3d4e5f60718293a4b5c6d7e8f90",
    "split-digits/class-incremental/replay[buffer_size=100]/seed=0",
    "/home/ann/results/trials/3f2a.arrow",
    r"C:\Users\ann\results",
    "file:///home/ann/mlruns",
    "sqlite:////home/ann/mlflow.db",
    "http://127.0.0.1:5000/#/experiments/1/runs/2?o_1=a",
    "http://127.0.0.1:5000/a:b@c",
    "http://[::1]:5000/a@b",
    "s3://bucket:9000/a@b",
    "s3://bucket/results?region=eu-central-1&endpoint_override=http%3A%2F%2Flocalhost%3A9000",
    "gs://anonymous@bucket/results",
    "abfss://container@account.dfs.core.windows.net/path",
    "git@github.com:me/it.git",
    "ssh://git@github.com/me/it.git",
    "ann@example.org: see https://example.org/a",
    "space.yaml:3: token: unknown key; did you mean tasks?",
    "space.yaml:3: password: unknown key",
    "TypeError: forward() got an unexpected keyword argument 'token'",
    "KeyError: 'secret'",
    "max_tokens=512, pad_token=end, cls_token=0, tokens: 7, tokenizer='words16'",
    "connect(host, password=None, token=None)",
    "PWD=/home/ann OLDPWD=/home",
    "the bearer of good news, basic training of risk-averse task-incremental sk-learn",
    "sk-learn-datasets-load-digits-version-1",
    "optimizer: {name: sgd, lr: 0.1}\nkey: value\nmonkey=banana",
    "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x10 and 12x5)",
    "torch==2.13.0+cpu sha256:" + "9f" * 32,
    "AKIAS of Finland, ASIAN data, AKIA",
    "hf_xet==1.1 ghp_ eyJ",
]


@pytest.mark.parametrize(("given", "wanted"), ADDRESSES.items())
def test_addresses_lose_users_and_keep_the_rest(given: str, wanted: str) -> None:
    assert without_credentials(given) == wanted
    assert (
        without_credentials(f"could not reach '{given}', see") == f"could not reach '{wanted}', see"
    )


@pytest.mark.parametrize(("given", "wanted"), SECRETS.items())
def test_secrets_are_hidden_within_any_text(given: str, wanted: str) -> None:
    around = "RuntimeError: failed\n  with {}\nand so on"
    assert without_credentials(around.format(given)) == around.format(wanted)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_not_touched(text: str) -> None:
    assert without_credentials(text) == text


_HEX = st.text("0123456789abcdef", min_size=1, max_size=64)
_NAME = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=20)
_NUMBER = st.floats(allow_nan=False) | st.integers()


@settings(max_examples=200, deadline=None)
@given(_HEX, st.lists(_NAME, min_size=1, max_size=6), _NUMBER)
def test_ids_paths_and_numbers_are_not_touched(
    digest: str, parts: list[str], number: float
) -> None:
    if any(without_credentials(part) != part for part in parts):
        return  # by chance a token's shape: that is what it is for
    path = "/".join(parts)
    for text in (digest, f"/{path}", f"s3://{path}", f"https://host:8080/{path}#{digest}"):
        assert without_credentials(text) == text
    settings_text = ", ".join(f"option_{i}={number}" for i in range(len(parts)))
    assert without_credentials(f"{digest}: {settings_text}") == f"{digest}: {settings_text}"


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from([*SECRETS, *ADDRESSES, "@", ":", "/"])).map("".join)
)
def test_once_is_enough(text: str) -> None:
    once = without_credentials(text)
    assert without_credentials(once) == once


@pytest.mark.parametrize(
    "unit", ["a", "://", "http://a:b/", "token", "eyJ", "sk-a", "s3://a:", "="]
)
def test_long_lines_take_no_long_time(unit: str) -> None:
    start = time.process_time()
    without_credentials(unit * (200_000 // len(unit)))
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("password", "x"),
        ("aws_secret_access_key", AWS_KEY),
        ("secret", "x"),
        ("api_key", "abc123"),
        ("HF_TOKEN", "abcdefghijklmnop"),
        ("description", f"made with {AWS_ID}"),
        ("weights", "https://ann:pass@example.org/w.pt"),
    ],
)
def test_what_looks_like_a_credential(key: str, value: str) -> None:
    assert looks_like_credentials(key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("password", ""),
        ("password", None),
        ("token", 5),
        ("token", "average"),
        ("tokens", "abc123456"),
        ("secret_share", 0.5),
        ("name", "a232534ff1b2c3d4e5f60718293a4b5c6d7e8f90"),
        ("paper", "arXiv:1612.00796"),
        ("seed", [0, 1]),
    ],
)
def test_what_does_not(key: str, value: object) -> None:
    assert not looks_like_credentials(key, value)
