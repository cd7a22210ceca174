//! Where ticks go and what they say.

/// Round numbers inside `min..=max`, at most about `count` of them.
pub(crate) fn ticks(min: f64, max: f64, count: usize) -> Vec<f64> {
    let step = step(min, max, count);
    if step == 0.0 {
        return vec![];
    }
    let first = (min / step - 1e-9).ceil() as i64;
    let last = (max / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The round distance between ticks; zero where there is no room for one.
fn step(min: f64, max: f64, count: usize) -> f64 {
    let rough = (max - min) / count.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 || rough < max.abs().max(min.abs()) * 1e-12 {
        return 0.0;
    }
    let decade = 10.0_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * decade >= rough * 0.999);
    factor.unwrap_or(10.0) * decade
}

/// Whole steps among [`ticks`].
pub(crate) fn whole_ticks(min: f64, max: f64, count: usize) -> Vec<f64> {
    let mut ticks = ticks(min, max, count);
    ticks.retain(|tick| (tick - tick.round()).abs() < 1e-9);
    ticks
}

/// Ticks for exponents of ten: 1, 2 and 5 of each decade where there are few, decades otherwise.
pub(crate) fn log_ticks(min: f64, max: f64) -> Vec<f64> {
    let factors: &[f64] = if max - min > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let decades = min.floor() as i64..=max.ceil() as i64;
    let every = ((max - min) / 8.0).ceil().max(1.0) as i64;
    decades
        .filter(|decade| decade.rem_euclid(every) == 0)
        .flat_map(|decade| factors.iter().map(move |factor| decade as f64 + factor.log10()))
        .filter(|tick| (min..=max).contains(tick))
        .collect()
}

/// A number as short as it can be said with four digits.
pub(crate) fn short(value: f64) -> String {
    if value.abs() < 1e-12 {
        return "0".into();
    }
    if !(1e-3..1e5).contains(&value.abs()) {
        let text = format!("{value:.1e}");
        return text.replace(".0e", "e");
    }
    let decimals = (3 - value.abs().log10().floor() as i64).clamp(0, 6) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(-0.07, 0.12, 4), [-0.05, 0.0, 0.05, 0.1]);
        assert_eq!(ticks(1.0, 1.0, 4), [] as [f64; 0]);
        assert_eq!(ticks(0.0, f64::INFINITY, 4), [] as [f64; 0]);
        assert_eq!(whole_ticks(0.0, 2.0, 8), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn a_few_decades_get_ticks_between_them() {
        let ticks: Vec<_> = log_ticks(-1.0, 0.0).iter().map(|t| short(10f64.powf(*t))).collect();
        assert_eq!(ticks, ["0.1", "0.2", "0.5", "1"]);
        assert_eq!(log_ticks(-4.0, 0.0), [-4.0, -3.0, -2.0, -1.0, 0.0]);
    }

    #[test]
    fn numbers_are_short() {
        let said = [0.0, 0.5, -12.0, 1200.0, 0.0123, 1.0 / 3.0, 2e-5, 3.5e7].map(short);
        assert_eq!(said, ["0", "0.5", "-12", "1200", "0.0123", "0.3333", "2e-5", "3.5e7"]);
    }
}
