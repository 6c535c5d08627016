"""The cluster's certificate authority: everybody who talks to the API server is known by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=30)
_CLOCKS_MAY_DIFFER_BY = timedelta(hours=1)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates into a folder; one that is there already goes on where it was left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = _distinguished_name("bij-test-authority", "")
        self.itself = Identity(folder / "authority.crt", folder / "authority.key")
        if self.itself.key.exists():
            key = serialization.load_pem_private_key(self.itself.key.read_bytes(), password=None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            self._key = key
        else:
            folder.mkdir(parents=True)
            self._key = ec.generate_private_key(ec.SECP256R1())
            self._write("authority", self._sign_itself(), self._key)

    def issue(
        self, file_name: str, *, user: str, group: str = "", names: tuple[str, ...] = ()
    ) -> Identity:
        """Issue a certificate for a client, and for a server too if it gets names or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_distinguished_name(user, group), key.public_key())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if names:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return self._write(file_name, builder.sign(self._key, hashes.SHA256()), key)

    def write_key_pair(self, file_name: str) -> Identity:
        """Write a bare key pair, with which the API server signs service account tokens."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = self._folder / f"{file_name}.pub"
        public.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return Identity(public, self._write_key(file_name, key))

    def _sign_itself(self) -> x509.Certificate:
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        # Python 3.13 refuses certificates that do not name their keys.
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        subject_key = x509.SubjectKeyIdentifier.from_public_key(public_key)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCKS_MAY_DIFFER_BY)
            .not_valid_after(now + _LIFETIME)
            .add_extension(issuer, critical=False)
            .add_extension(subject_key, critical=False)
        )

    def _write(
        self, file_name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> Identity:
        path = self._folder / f"{file_name}.crt"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return Identity(path, self._write_key(file_name, key))

    def _write_key(self, file_name: str, key: ec.EllipticCurvePrivateKey) -> Path:
        path = self._folder / f"{file_name}.key"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return path


def _distinguished_name(user: str, group: str) -> x509.Name:
    """Kubernetes reads the user from the common name and the group from the organization."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
