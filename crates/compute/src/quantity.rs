//! Kubernetes quantities: `1500m`, `2Gi`, `1e3`, `0.5`.

/// Thousandths, which is as fine as quantities of pods are.
const MILLI: u128 = 1_000;

/// A non-negative quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    millis: u128,
}

impl Quantity {
    /// Reads a quantity; finer than a thousandth is rounded up, as Kubernetes does.
    pub fn parse(text: &str) -> Option<Quantity> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || number.len() > 30 {
            return None;
        }
        let digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
        let shift = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let (factor, divisor) = scale(suffix)?;
        let millis = digits.checked_mul(factor)?.checked_mul(MILLI)?.div_ceil(shift.checked_mul(divisor)?);
        Some(Quantity { millis })
    }

    /// Thousandths of a unit, as processors are counted.
    pub fn millis(self) -> u64 {
        u64::try_from(self.millis).unwrap_or(u64::MAX)
    }

    /// Whole units, rounded up, as bytes are counted.
    pub fn units(self) -> u64 {
        u64::try_from(self.millis.div_ceil(MILLI)).unwrap_or(u64::MAX)
    }
}

/// An amount of bytes as people write it: `10Mi`.
pub fn written(bytes: u64) -> String {
    let units = [(60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let whole = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// Factor and divisor of a suffix or decimal exponent.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10u128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    fn units(text: &str) -> u64 {
        Quantity::parse(text).expect(text).units()
    }

    #[test]
    fn reads_what_kubernetes_writes() {
        assert_eq!(Quantity::parse("1500m").expect("cpu").millis(), 1500);
        assert_eq!(Quantity::parse("1.5").expect("cpu").millis(), 1500);
        assert_eq!(units("2Gi"), 2 << 30);
        assert_eq!(units("1e3"), 1000);
        assert_eq!(units("5E"), 5_000_000_000_000_000_000);
        assert_eq!(units("0.5Gi"), 512 << 20);
        assert_eq!(units("100m"), 1);
        assert_eq!(units("12e-1"), 2);
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", ".", "-1", "1.2.3", "5 apples", "1e", "1e999", "Gi"] {
            assert!(Quantity::parse(text).is_none(), "{text}");
        }
    }
}
