//! Key exchange over secp521r1, which rustls' provider does not have: ARC computing elements take no other curve unless they are
//! told to. The curve is RustCrypto's; here it is only put into rustls' words.

use p521::elliptic_curve::rand_core::OsRng;
use p521::elliptic_curve::sec1::ToEncodedPoint;
use p521::{PublicKey, ecdh};
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};

/// Begins a point that is written in full, which TLS wants.
const UNCOMPRESSED: u8 = 4;

#[derive(Debug)]
pub(crate) struct Secp521r1;

struct Exchange {
    secret: ecdh::EphemeralSecret,
    public: Vec<u8>,
}

impl SupportedKxGroup for Secp521r1 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = ecdh::EphemeralSecret::random(&mut OsRng);
        let public = secret.public_key().to_encoded_point(false).as_bytes().to_vec();
        Ok(Box::new(Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, Error> {
        let wrong = || Error::from(PeerMisbehaved::InvalidKeyShare);
        if theirs.first() != Some(&UNCOMPRESSED) {
            return Err(wrong());
        }
        // That it is a point of the curve is checked there.
        let theirs = PublicKey::from_sec1_bytes(theirs).map_err(|_| wrong())?;
        Ok(SharedSecret::from(&self.secret.diffie_hellman(&theirs).raw_secret_bytes()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_get_the_same() {
        let (one, other) = (Secp521r1.start().expect("started"), Secp521r1.start().expect("started"));
        let (of_one, of_other) = (one.pub_key().to_vec(), other.pub_key().to_vec());
        assert_eq!(of_one.len(), 133);
        let shared = one.complete(&of_other).expect("shared");
        assert_eq!(shared.secret_bytes().len(), 66);
        assert_eq!(shared.secret_bytes(), other.complete(&of_one).expect("shared").secret_bytes());
        let mut bent = of_one.clone();
        bent[132] ^= 1;
        for hostile in [&[][..], &[0], &of_one[..132], &bent, &[&[2], &of_one[1..67]].concat()] {
            assert!(Secp521r1.start().expect("started").complete(hostile).is_err());
        }
    }
}
