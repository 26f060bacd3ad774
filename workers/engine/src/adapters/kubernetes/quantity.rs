//! Sizes as Kubernetes writes them.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::error::KubernetesError;

/// Suffixes and what they multiply by; a power of ten may also be written as an exponent.
const SUFFIXES: [(&str, f64); 14] = [
    ("", 1.0),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("Ki", 1024.0),
    ("Mi", 1048576.0),
    ("Gi", 1073741824.0),
    ("Ti", 1099511627776.0),
    ("Pi", 1125899906842624.0),
    ("Ei", 1152921504606846976.0),
];

/// The largest of `sizes`, as it was written; `None` where there are none.
pub(super) fn largest(sizes: impl IntoIterator<Item = Quantity>) -> Result<Option<Quantity>, KubernetesError> {
    let mut largest: Option<(u128, Quantity)> = None;
    for size in sizes {
        let size_bytes = bytes(&size)?;
        if largest.as_ref().is_none_or(|(known, _)| *known < size_bytes) {
            largest = Some((size_bytes, size));
        }
    }
    Ok(largest.map(|(_, size)| size))
}

/// The size in bytes, rounded up.
pub(super) fn bytes(quantity: &Quantity) -> Result<u128, KubernetesError> {
    parse(quantity.0.trim()).ok_or_else(|| KubernetesError::Quantity { found: quantity.0.clone() })
}

fn parse(text: &str) -> Option<u128> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor = match SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        Some((_, factor)) => *factor,
        None => 10f64.powi(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    // Whole numbers stay exact: volumes are sized in bytes that a float may round.
    if let Ok(whole) = number.parse::<u128>()
        && (1.0..=1e36).contains(&factor)
    {
        return whole.checked_mul(factor as u128);
    }
    let size = (number.parse::<f64>().ok()? * factor).ceil();
    (0.0..1e38).contains(&size).then_some(size as u128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_every_spelling() {
        let sizes: [(&str, u128); 11] = [
            ("0", 0),
            ("9007199254740993", 9_007_199_254_740_993),
            ("10Gi", 10 << 30),
            ("1.5Gi", 3 << 29),
            ("10G", 10_000_000_000),
            ("1e3", 1000),
            ("2E3", 2000),
            ("1E", 1_000_000_000_000_000_000),
            ("1500m", 2),
            ("+5Ki", 5120),
            ("0.1k", 100),
        ];
        for (text, size_bytes) in sizes {
            assert_eq!(parse(text), Some(size_bytes), "{text}");
        }
        for bad in
            ["", "Gi", "-1", "1 Gi", "1gi", "1KiB", "ten", "1e", "1e999", "1.2.3", "99999999999999999999999999Ei"]
        {
            assert_eq!(parse(bad), None, "{bad} was accepted");
        }
    }

    #[test]
    fn the_largest_keeps_its_spelling() {
        let sizes = ["10G", "10Gi", "1Gi"].map(|size| Quantity(size.into()));
        assert!(matches!(largest(sizes), Ok(Some(Quantity(size))) if size == "10Gi"));
        assert!(matches!(largest([]), Ok(None)));
        let error = largest([Quantity("huge".into())]).expect_err("no size");
        assert!(error.to_string().contains("huge"), "{error}");
    }
}
