//! Writes a `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7) from the numbers of a JSON Web Key, so that keys of every
//! origin are checked and named by one code path.

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// `AlgorithmIdentifier` of rsaEncryption (RFC 8017 appendix A.1), with its NULL parameters.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// id-ecPublicKey on secp256r1 (RFC 5480 section 2.1.1).
const P256: &[u8] = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// id-ecPublicKey on secp384r1.
const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
/// id-Ed25519 (RFC 8410 section 3).
const ED25519: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";

#[derive(Clone, Copy, Debug)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Curve {
    const fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let numbers = [unsigned(modulus), unsigned(exponent)].concat();
    public_key(RSA, &value(SEQUENCE, &numbers))
}

/// `None` where a coordinate has not the full length that RFC 7518 section 6.2.1.2 demands.
pub(super) fn elliptic(curve: Curve, x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    let (len, algorithm) = match curve {
        Curve::P256 => (curve.coordinate_len(), P256),
        Curve::P384 => (curve.coordinate_len(), P384),
    };
    let whole = x.len() == len && y.len() == len;
    whole.then(|| public_key(algorithm, &[&[4], x, y].concat()))
}

pub(super) fn ed25519(x: &[u8]) -> Vec<u8> {
    public_key(ED25519, x)
}

fn public_key(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let bits = value(BIT_STRING, &[&[0], key].concat());
    value(SEQUENCE, &[algorithm, &bits].concat())
}

/// An INTEGER: no leading zeros but the one that keeps it positive.
fn unsigned(number: &[u8]) -> Vec<u8> {
    let number = super::without_zeros(number);
    let positive = number.first().is_some_and(|first| first & 0x80 == 0);
    if positive { value(INTEGER, number) } else { value(INTEGER, &[&[0], number].concat()) }
}

/// Tag, length (X.690 section 8.1.3) and content.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len().to_be_bytes();
    let significant = super::without_zeros(&len);
    let mut out = vec![tag];
    if let [short @ 0..0x80] = significant {
        out.push(*short);
    } else if significant.is_empty() {
        out.push(0);
    } else {
        // A usize has at most eight bytes.
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(content);
    out
}
