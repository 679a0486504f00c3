"""The read side's Kafka client under TLS: with whatever settings librdkafka connects, it
connects too, and neither where one is wrong.
"""

from __future__ import annotations

import asyncio
import datetime
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from odradek.broker import LocalBroker
from odradek.broker.local import QUICK_START
from odradek.broker.ports import HOST, free_ports
from odradek.config import Settings
from odradek.exceptions import ConfigurationError
from odradek.visibility.intake.security import broker_credentials
from odradek.visibility.reader import VisibilityReader

PASSWORD = "geheim"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def key_pem(self, password: str = "") -> str:
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def issue(name: str, issuer: Pair | None = None) -> Pair:
    """A certificate for `localhost`, or one that issues others."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def revocations(issuer: Pair, *revoked: Pair) -> str:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(NOW - DAY)
        .next_update(NOW + DAY)
    )
    for one in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(one.certificate.serial_number)
            .revocation_date(NOW - DAY)
            .build()
        )
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


class TlsBroker:
    """Asks for a certificate of each client. `files`: what clients may name, by file name."""

    def __init__(self, folder: Path, address: str, ca: Pair, broker: Pair) -> None:
        self.address = address
        self._folder = folder
        self.ca, self.client = ca, issue("client", ca)
        files: dict[str, str | bytes] = {
            "ca.pem": "# Zertifizierungsstelle für Prüfungen\n" + ca.pem(),
            "c.pem": self.client.pem(),
            "c.key": self.client.key_pem(),
            "c-locked.key": self.client.key_pem(PASSWORD),
            "c.p12": pkcs12.serialize_key_and_certificates(
                b"client",
                self.client.key,
                self.client.certificate,
                [ca.certificate],
                BestAvailableEncryption(PASSWORD.encode()),
            ),
            "nobody.crl": revocations(ca),
            "broker.crl": revocations(ca, broker),
        }
        for name, content in files.items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        (folder / "hashed").mkdir()
        (folder / "hashed" / "ca.pem").write_text(ca.pem())
        subprocess.run(["openssl", "rehash", folder / "hashed"], check=True)

    def kafka(self, **more: str) -> dict[str, str]:
        """The setting `kafka`: `ca_location="@ca.pem"` is `ssl.ca.location` with the path of
        that file, `ca_pem="<ca.pem"` its text.
        """
        found = {"security.protocol": "SSL"}
        for name, value in more.items():
            path = self._folder / value[1:]
            text = (
                str(path)
                if value[0] == "@"
                else path.read_text(encoding="utf-8")
                if value[0] == "<"
                else value
            )
            found[f"ssl.{name.replace('_', '.')}"] = text
        return found


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsBroker]:
    folder = tmp_path_factory.mktemp("tls")
    plain, tls, controller = free_ports(3)
    ca = issue("authority")
    own = issue("broker", ca)
    (folder / "broker.pem").write_text(own.key_pem() + own.pem())
    (folder / "trusted.pem").write_text(ca.pem())
    config = {
        "listeners": f"PLAINTEXT://{HOST}:{plain},SSL://{HOST}:{tls},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{plain},SSL://localhost:{tls}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "trusted.pem"),
    }
    with LocalBroker(port=plain, config=config, jvm_options=QUICK_START):
        yield TlsBroker(folder, f"localhost:{tls}", ca, own)


def librdkafka_connects(broker: TlsBroker, kafka: dict[str, str], seconds: float = 20) -> bool:
    try:
        admin = AdminClient({"bootstrap.servers": broker.address, "log_level": 0, **kafka})
        return bool(admin.list_topics(timeout=seconds).brokers)
    except KafkaException:
        return False


async def aiokafka_connects(broker: TlsBroker, kafka: dict[str, str]) -> bool:
    credentials = broker_credentials(kafka)
    assert isinstance(credentials, faust.SSLCredentials)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.address, security_protocol="SSL", ssl_context=credentials.context
    )
    try:
        await consumer.start()
        return isinstance(await consumer.topics(), set)
    except Exception:
        return False
    finally:
        await consumer.stop()


FILES = {"ca_location": "@ca.pem", "certificate_location": "@c.pem", "key_location": "@c.key"}
GOOD: dict[str, dict[str, str]] = {
    "files": FILES,
    "texts": {"ca_pem": "<ca.pem", "certificate_pem": "<c.pem", "key_pem": "<c.key"},
    "text and file": {"ca_pem": "<ca.pem", "certificate_location": "@c.pem", "key_pem": "<c.key"},
    "locked file": {**FILES, "key_location": "@c-locked.key", "key_password": PASSWORD},
    "locked text": {
        "ca_pem": "<ca.pem",
        "certificate_pem": "<c.pem",
        "key_pem": "<c-locked.key",
        "key_password": PASSWORD,
    },
    "keystore": {
        "ca_location": "@ca.pem",
        "keystore_location": "@c.p12",
        "keystore_password": PASSWORD,
    },
    "nobody revoked": {**FILES, "crl_location": "@nobody.crl"},
    "ciphers": {**FILES, "cipher_suites": "ECDHE-ECDSA-AES256-GCM-SHA384"},
    "folder": {**FILES, "ca_location": "@hashed"},
}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", GOOD)
def test_what_librdkafka_connects_with_serves_the_read_side(
    name: str, broker: TlsBroker, scratch: Path
) -> None:
    kafka = broker.kafka(**GOOD[name])
    assert librdkafka_connects(broker, kafka)
    assert asyncio.run(aiokafka_connects(broker, kafka))
    assert list(scratch.iterdir()) == []


def test_a_revoked_certificate_is_refused(broker: TlsBroker) -> None:
    kafka = broker.kafka(**FILES, crl_location="@broker.crl")
    assert not librdkafka_connects(broker, kafka, 3)
    assert not asyncio.run(aiokafka_connects(broker, kafka))


def test_the_read_side_runs_with_a_keystore(
    broker: TlsBroker, namespace: str, tmp_path: Path
) -> None:
    kafka = broker.kafka(**GOOD["keystore"])
    settings = Settings(
        address=broker.address, namespace=namespace, state_dir=tmp_path, partitions=1, kafka=kafka
    )
    reader = VisibilityReader(settings)
    reader.start()
    try:
        assert reader.wait_ready(60), reader.statistics()
    finally:
        reader.stop()


def test_private_files_are_for_this_user_alone(
    broker: TlsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from inside, while a context loads them."""
    seen: list[tuple[int, int, str]] = []
    load = ssl.SSLContext.load_cert_chain

    def watched(
        context: ssl.SSLContext, certfile: Any, keyfile: Any = None, password: Any = None
    ) -> None:
        for path in map(Path, (certfile, keyfile)):
            seen.append(
                (
                    stat.S_IMODE(path.stat().st_mode),
                    stat.S_IMODE(path.parent.stat().st_mode),
                    str(path),
                )
            )
        load(context, certfile, keyfile, password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    for name in ("texts", "keystore"):
        broker_credentials(broker.kafka(**GOOD[name]))
    assert [(file, folder) for file, folder, _ in seen] == [(0o600, 0o700)] * 4
    assert not any(Path(path).exists() for _, _, path in seen)


@pytest.mark.parametrize(
    ("more", "key", "part"),
    [
        (
            {"keystore_location": "@c.p12", "keystore_password": "falsch"},
            "ssl.keystore.location",
            "ssl.keystore.password",
        ),
        ({"keystore_location": "@c.pem"}, "ssl.keystore.location", "cannot be read"),
        (
            {"certificate_pem": "<c.pem", "key_pem": "<c-locked.key"},
            "ssl.key.password",
            "encrypted",
        ),
        (
            {
                "certificate_location": "@c.pem",
                "key_location": "@c-locked.key",
                "key_password": "falsch",
            },
            "ssl.certificate.location",
            "`kafka.ssl.key.password`",
        ),
        (
            {"certificate_pem": "nonsense", "key_pem": "<c.key"},
            "ssl.certificate.pem",
            "cannot be read",
        ),
        (
            {"certificate_location": "@nowhere", "key_pem": "<c.key"},
            "ssl.certificate.location",
            "cannot be read",
        ),
        ({"key_pem": "<c.key"}, "ssl.key.pem", "ssl.certificate"),
        ({"ca_pem": "nonsense"}, "ssl.ca.pem", "cannot be read"),
        ({"crl_location": "@nowhere.crl"}, "ssl.crl.location", "cannot be read"),
        ({"cipher_suites": "NO-SUCH-CIPHER"}, "ssl.cipher.suites", "NO-SUCH-CIPHER"),
        ({"curves_list": "P-256"}, "ssl.curves.list", "the read side cannot use"),
        ({"providers": "legacy"}, "ssl.providers", "the read side cannot use"),
        ({"engine_location": "dynamic"}, "ssl.engine.location", "the read side cannot use"),
    ],
)
def test_what_cannot_be_done_is_named(
    more: dict[str, str], key: str, part: str, broker: TlsBroker
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        broker_credentials(broker.kafka(**more))
    assert raised.value.key == f"kafka.{key}"
    assert f"`kafka.{key}`" in str(raised.value) and part in str(raised.value)
    assert PASSWORD not in str(raised.value)


def test_a_keystore_without_the_package_for_it(
    broker: TlsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(
        ConfigurationError,
        match=r"`kafka.ssl.keystore.location`.*pip install cryptography.*`ssl.key.pem`",
    ):
        broker_credentials(broker.kafka(**GOOD["keystore"]))
