//! Elementary and special functions, and root finding.
//!
//! All of it is `libm` in Rust or plain arithmetic: the platform's own `exp` and `ln` differ in their last bits between
//! machines. `f64::sqrt` and `f64::mul_add` are rounded correctly everywhere and may be used as they are.

pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

pub fn exp_m1(x: f64) -> f64 {
    libm::expm1(x)
}

pub fn ln_1p(x: f64) -> f64 {
    libm::log1p(x)
}

pub fn pow(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}

pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// P(Z > x) of the standard normal distribution.
pub fn normal_tail(x: f64) -> f64 {
    0.5 * libm::erfc(x * std::f64::consts::FRAC_1_SQRT_2)
}

/// (1 - e^-x) / x, also at 0.
pub fn exp_ratio(x: f64) -> f64 {
    if x.abs() < 1e-12 { 1.0 - 0.5 * x } else { -exp_m1(-x) / x }
}

/// The regularised upper incomplete gamma function Q(a, x): P(G > x) for a gamma variable of shape `a` and scale 1.
/// Series below a + 1, Lentz's continued fraction above (Numerical Recipes, 6.2).
pub fn gamma_tail(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let ln_front = a * ln(x) - x - ln_gamma(a);
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        (1.0 - exp(ln_front) * sum).clamp(0.0, 1.0)
    } else {
        let tiny = 1e-300;
        let mut b = x + 1.0 - a;
        let mut c = 1.0 / tiny;
        let mut d = 1.0 / b;
        let mut h = d;
        for i in 1..100_000 {
            let i = f64::from(i);
            let an = -i * (i - a);
            b += 2.0;
            d = an * d + b;
            d = 1.0 / if d.abs() < tiny { tiny } else { d };
            c = b + an / c;
            if c.abs() < tiny {
                c = tiny;
            }
            let delta = d * c;
            h *= delta;
            if (delta - 1.0).abs() < 1e-16 {
                break;
            }
        }
        (exp(ln_front) * h).clamp(0.0, 1.0)
    }
}

/// The x >= 0 at which `tail`, which decreases from at least `level` towards 0, reaches `level`.
/// `scale` is any length of about the right size. It always ends.
pub fn tail_quantile(scale: f64, level: f64, tail: impl Fn(f64) -> f64) -> f64 {
    tail_quantile_within(4.0 * f64::EPSILON, scale, level, tail)
}

/// The same to a relative error of `tolerance`.
pub fn tail_quantile_within(tolerance: f64, scale: f64, level: f64, tail: impl Fn(f64) -> f64) -> f64 {
    let mut high = scale.max(f64::MIN_POSITIVE);
    while tail(high) > level && high < 1e300 {
        high *= 2.0;
    }
    let mut low = if high > scale { high * 0.5 } else { high };
    while tail(low) <= level && low > 1e-300 {
        high = low;
        low *= 0.5;
    }
    regula_falsi(tolerance, low, high, level, tail)
}

/// Anderson-Bjorck false position on a bracket, with bisection when it is slow.
fn regula_falsi(tolerance: f64, low: f64, high: f64, level: f64, tail: impl Fn(f64) -> f64) -> f64 {
    let f = |x: f64| ln(tail(x).max(f64::MIN_POSITIVE)) - ln(level);
    let (mut a, mut b) = (low, high);
    let (mut fa, mut fb) = (f(a), f(b));
    for round in 0..200 {
        if b - a <= tolerance * b {
            break;
        }
        let mut x = if round % 4 == 3 || fa == fb { 0.5 * (a + b) } else { a + (b - a) * fa / (fa - fb) };
        if !(x > a && x < b) {
            x = 0.5 * (a + b);
        }
        let fx = f(x);
        if fx.abs() <= tolerance {
            return x;
        }
        if fx > 0.0 {
            let shrink = 1.0 - fx / fa;
            (a, fa) = (x, fx);
            fb *= if shrink > 0.0 { shrink } else { 0.5 };
            fb = fb.min(-f64::MIN_POSITIVE);
        } else {
            let shrink = 1.0 - fx / fb;
            (b, fb) = (x, fx);
            fa *= if shrink > 0.0 { shrink } else { 0.5 };
            fa = fa.max(f64::MIN_POSITIVE);
        }
    }
    0.5 * (a + b)
}

/// The integral of `f` from 0 to infinity, by the trapezoid rule in the logarithm of the variable (double precision for
/// smooth functions that vanish at infinity; Trefethen and Weideman, 2014).
pub fn integral_from_zero(scale: f64, f: impl Fn(f64) -> f64) -> f64 {
    let step = 0.0625;
    let mut sum = 0.0;
    let mut up = 0.0;
    while up < 60.0 {
        let x = scale * exp(up);
        let term = f(x) * x;
        sum += term;
        if up > 1.0 && term <= sum * 1e-17 {
            break;
        }
        up += step;
    }
    let mut down = -step;
    while down > -80.0 {
        let x = scale * exp(down);
        let term = f(x) * x;
        sum += term;
        if term <= sum * 1e-17 {
            break;
        }
        down -= step;
    }
    sum * step
}

/// The integral of `f` from 0 to `to`: composite Gauss-Legendre of 5 points on `steps` equal steps.
pub fn integral(to: f64, steps: f64, f: impl Fn(f64) -> f64) -> f64 {
    const NODES: [(f64, f64); 5] = [
        (0.0, 0.568_888_888_888_888_9),
        (0.538_469_310_105_683_1, 0.478_628_670_499_366_47),
        (-0.538_469_310_105_683_1, 0.478_628_670_499_366_47),
        (0.906_179_845_938_664, 0.236_926_885_056_189_08),
        (-0.906_179_845_938_664, 0.236_926_885_056_189_08),
    ];
    let half = 0.5 * to / steps;
    let mut sum = 0.0;
    let mut at = half;
    while at < to {
        sum += NODES.iter().map(|(x, w)| w * f(at + x * half)).sum::<f64>();
        at += 2.0 * half;
    }
    sum * half
}

/// Quantile of Student's t for a two-sided 90 % interval with `degrees` of freedom (Cornish-Fisher, 3 digits from 5 on).
pub fn student_90(degrees: usize) -> f64 {
    let z: f64 = 1.644_853_626_951_472_2;
    let n = degrees.max(1) as f64;
    let z3 = z * z * z;
    let z5 = z3 * z * z;
    z + (z3 + z) / (4.0 * n) + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * n * n)
}
