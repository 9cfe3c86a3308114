//! One line of `afresh capacity predict --batch`: JSON to a [`Request`], every mistake with its place.

use crate::Refusal;
use crate::dist::Dist;
use crate::preemptive::Class;
use crate::simulate::arrivals::Mmpp;
use json::Fields;

mod json;

/// The most servers that are simulated.
pub const MAX_SIMULATED: u32 = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    Mmc,
    Mgc,
    Ggc,
    Batch,
    Mmpp,
    ErlangA,
    Setup,
    Preemptive,
    Step,
    ZoneLoss,
    Rotation,
}

const MODELS: [(&str, Model, &str); 11] = [
    ("mmc", Model::Mmc, "c lambda service arrival"),
    ("mgc", Model::Mgc, "c lambda service arrival"),
    ("ggc", Model::Ggc, "c lambda service arrival"),
    ("batch", Model::Batch, "c lambda service arrival"),
    ("mmpp", Model::Mmpp, "c lambda service arrival"),
    ("erlang_a", Model::ErlangA, "c lambda service arrival patience"),
    ("setup", Model::Setup, "c lambda service arrival setup"),
    ("preemptive", Model::Preemptive, "c incident planned"),
    ("step", Model::Step, "c lambda service arrival delay c_after lambda_peak horizon"),
    ("zone_loss", Model::ZoneLoss, "c lambda service arrival delay c_after horizon"),
    ("rotation", Model::Rotation, "c lambda service arrival delay surge batch horizon"),
];
const ALWAYS: &str = "model method id seed";
const FIELDS: &str =
    "model c lambda service arrival patience setup incident planned delay c_after lambda_peak horizon surge batch method id seed";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Formula,
    Simulate,
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrival {
    /// Independent interarrival times, of mean 1
    Renewal(Dist),
    BatchFixed(u32),
    BatchGeometric(f64),
    Mmpp(Mmpp),
}

impl Arrival {
    pub fn is_poisson(&self) -> bool {
        matches!(self, Arrival::Renewal(Dist::Exp { .. }))
    }
}

/// A well-formed question; whether it can be answered is for [`crate::predict`].
#[derive(Clone, Debug)]
pub struct Request {
    pub model: Model,
    pub name: &'static str,
    pub c: u32,
    pub lambda: f64,
    pub service: Dist,
    pub arrival: Arrival,
    pub patience: Option<Dist>,
    pub setup: Option<Dist>,
    pub incident: Option<Class>,
    pub planned: Option<Class>,
    pub delay: Option<f64>,
    pub c_after: Option<u32>,
    pub lambda_peak: Option<f64>,
    pub horizon: Option<f64>,
    pub surge: u32,
    pub batch: u32,
    pub method: Method,
    pub seed: u64,
}

/// A line as read: what it says, or why it is refused, with the `id` to be repeated in the answer.
pub struct Line {
    pub id: Option<serde_json::Value>,
    pub request: Result<Request, Refusal>,
}

pub fn read(line: &str) -> Line {
    match json::parse(line) {
        Err(refusal) => Line { id: None, request: Err(refusal) },
        Ok(fields) => Line { id: fields.id(), request: request(&fields) },
    }
}

fn names(list: &str) -> String {
    list.split(' ').collect::<Vec<_>>().join(", ")
}

fn request(fields: &Fields) -> Result<Request, Refusal> {
    fields.check_known(FIELDS)?;
    let model = fields
        .text("model")?
        .ok_or_else(|| Refusal::new("model", "missing", format!("use one of {}", MODELS.map(|(name, _, _)| name).join(", "))))?;
    let Some((name, model, used)) = MODELS.into_iter().find(|(name, _, _)| *name == model) else {
        return Err(Refusal::new(
            "model",
            format!("unknown model {model:?}"),
            format!("use one of {}", MODELS.map(|(name, _, _)| name).join(", ")),
        ));
    };
    for (field, _) in fields.iter() {
        if !used.split(' ').chain(ALWAYS.split(' ')).any(|known| known == field) {
            return Err(Refusal::new(
                field,
                format!("model {name} does not use this field"),
                format!("remove it; {name} uses {}", names(used)),
            ));
        }
    }
    let method = match fields.text("method")? {
        None | Some("auto") => Method::Auto,
        Some("formula") => Method::Formula,
        Some("simulate") => Method::Simulate,
        Some(other) => return Err(Refusal::new("method", format!("unknown method {other:?}"), "use formula, simulate or auto")),
    };
    let c = fields.count("c", 1)?.ok_or_else(|| missing("c", "state how many servers there are"))?;
    let seed = fields.number("seed", 0.0, 9e15)?.unwrap_or(1.0) as u64;
    if model == Model::Preemptive {
        let class = |name: &str| class(fields, name);
        let (incident, planned) = (class("incident")?, class("planned")?);
        return Ok(Request { incident: Some(incident), planned: Some(planned), ..Request::plain(model, name, c, method, seed) });
    }
    let service = match fields.object("service")? {
        None => return Err(missing("service", "add service, such as {\"dist\": \"exp\", \"mean\": 0.1}")),
        Some(service) => dist(&service, if model == Model::Mmc { Some("exp") } else { None })?,
    };
    if model == Model::Mmc && !service.is_exp() {
        return Err(Refusal::new("service.dist", "model mmc has exponential service", "use model mgc"));
    }
    let arrival = arrival(fields, model, name)?;
    let lambda = match (fields.number("lambda", 1e-12, 1e12)?, arrival) {
        (None, Arrival::Mmpp(process)) => process.rate(),
        (None, _) => return Err(missing("lambda", "state the arrival rate, in the time unit of service.mean")),
        (Some(lambda), Arrival::Mmpp(process)) if (lambda / process.rate() - 1.0).abs() > 0.01 => {
            return Err(Refusal::new(
                "lambda",
                format!("lambda is {lambda}, and the rates of arrival give {:.6}", process.rate()),
                "leave lambda out: with mmpp the rates say it",
            ));
        }
        (Some(_), Arrival::Mmpp(process)) => process.rate(),
        (Some(lambda), _) => lambda,
    };
    let time = |name: &str| match fields.object(name)? {
        None => Ok(None),
        Some(object) => dist(&object, None).map(Some),
    };
    let duration = |name: &str| fields.number(name, 0.0, 1e12);
    let patience = time("patience")?;
    if model == Model::ErlangA && patience.is_none() {
        return Err(missing("patience", "add patience, such as {\"dist\": \"exp\", \"mean\": 2}; where nobody gives up use model mgc"));
    }
    let setup = time("setup")?;
    if model == Model::Setup && setup.is_none() {
        return Err(missing("setup", "add setup, such as {\"dist\": \"det\", \"mean\": 40}"));
    }
    Ok(Request {
        lambda,
        service,
        arrival,
        patience,
        setup,
        delay: duration("delay")?,
        c_after: fields.count("c_after", 1)?,
        lambda_peak: fields.number("lambda_peak", 1e-12, 1e12)?,
        horizon: match fields.number("horizon", 1e-12, 1e12)? {
            Some(0.0) => return Err(Refusal::new("horizon", "the horizon is 0", "state how long the change is watched")),
            horizon => horizon,
        },
        surge: fields.count("surge", 0)?.unwrap_or(0),
        batch: fields.count("batch", 0)?.unwrap_or(1),
        ..Request::plain(model, name, c, method, seed)
    })
}

impl Request {
    /// A request of which only the fields that all models have are said.
    pub fn plain(model: Model, name: &'static str, c: u32, method: Method, seed: u64) -> Request {
        Request {
            model,
            name,
            c,
            lambda: 0.0,
            service: Dist::Exp { mean: 1.0 },
            arrival: Arrival::Renewal(Dist::Exp { mean: 1.0 }),
            patience: None,
            setup: None,
            incident: None,
            planned: None,
            delay: None,
            c_after: None,
            lambda_peak: None,
            horizon: None,
            surge: 0,
            batch: 1,
            method,
            seed,
        }
    }

    /// A plain M/G/c question, for callers that have no line.
    pub fn mgc(c: u32, lambda: f64, service: Dist, method: Method) -> Request {
        Request { lambda, service, ..Request::plain(Model::Mgc, "mgc", c, method, 1) }
    }
}

fn missing(place: &str, hint: &str) -> Refusal {
    Refusal::new(place, "missing", hint)
}

fn dist(object: &Fields, default: Option<&str>) -> Result<Dist, Refusal> {
    object.check_known("dist mean scv")?;
    let family =
        object.text("dist")?.or(default).ok_or_else(|| missing(&object.at("dist"), "use one of det, exp, gamma, lognormal, h2"))?;
    let mean = object.number("mean", f64::NEG_INFINITY, f64::INFINITY)?.ok_or_else(|| missing(&object.at("mean"), "state the mean"))?;
    let scv = object.number("scv", f64::NEG_INFINITY, f64::INFINITY)?;
    Dist::new(family, mean, scv, object.place())
}

fn class(fields: &Fields, name: &str) -> Result<Class, Refusal> {
    let object = fields.object(name)?.ok_or_else(|| missing(name, "add it, such as {\"lambda\": 0.2, \"dist\": \"exp\", \"mean\": 1}"))?;
    object.check_known("lambda dist mean scv")?;
    let lambda = object.number("lambda", 1e-12, 1e12)?.ok_or_else(|| missing(&object.at("lambda"), "state the arrival rate"))?;
    let service = dist(&object.without("lambda"), Some("exp"))?;
    Ok(Class { lambda, service })
}

fn arrival(fields: &Fields, model: Model, name: &str) -> Result<Arrival, Refusal> {
    let Some(object) = fields.object("arrival")? else {
        return match model {
            Model::Ggc => Err(missing("arrival", "add arrival, such as {\"dist\": \"gamma\", \"scv\": 2}")),
            Model::Batch => Err(missing("arrival", "add arrival, such as {\"dist\": \"batch_fixed\", \"batch_mean\": 4}")),
            Model::Mmpp => Err(missing("arrival", "add arrival with dist mmpp, rate_high, rate_low, high_to_low, low_to_high")),
            _ => Ok(Arrival::Renewal(Dist::Exp { mean: 1.0 })),
        };
    };
    const OF: [(&str, &str); 3] = [
        ("batch_fixed", "dist batch_mean"),
        ("batch_geometric", "dist batch_mean"),
        ("mmpp", "dist rate_high rate_low high_to_low low_to_high"),
    ];
    object.check_known("dist scv batch_mean rate_high rate_low high_to_low low_to_high mean")?;
    let family = object
        .text("dist")?
        .ok_or_else(|| missing(&object.at("dist"), "use exp, gamma, lognormal, h2, batch_fixed, batch_geometric or mmpp"))?;
    let used = OF.iter().find(|(name, _)| *name == family).map_or("dist scv", |(_, used)| used);
    for (field, _) in object.iter() {
        if !used.split(' ').any(|known| known == field) {
            return Err(Refusal::new(
                object.at(field),
                format!("dist {family} of arrivals does not use this field"),
                format!("remove it; {family} uses {}", names(used)),
            ));
        }
    }
    let needed = |field: &str, low: f64, high: f64| object.number(field, low, high)?.ok_or_else(|| missing(&object.at(field), "state it"));
    let found = match family {
        "batch_fixed" => {
            let size = needed("batch_mean", 1.0, 1e6)?;
            if size.fract() != 0.0 {
                return Err(Refusal::new(
                    object.at("batch_mean"),
                    format!("batches of {size} are not whole"),
                    "use batch_geometric for a mean that is not whole",
                ));
            }
            Arrival::BatchFixed(size as u32)
        }
        "batch_geometric" => Arrival::BatchGeometric(needed("batch_mean", 1.0, 1e6)?),
        "mmpp" => {
            let rate = |field: &str| needed(field, 1e-12, 1e12);
            let rate_low = needed("rate_low", 0.0, 1e12)?;
            let process =
                Mmpp { rate_high: rate("rate_high")?, rate_low, high_to_low: rate("high_to_low")?, low_to_high: rate("low_to_high")? };
            if process.rate_low > process.rate_high {
                return Err(Refusal::new(object.at("rate_low"), "rate_low is above rate_high", "exchange them, and their transitions"));
            }
            Arrival::Mmpp(process)
        }
        _ => Arrival::Renewal(Dist::new(family, 1.0, object.number("scv", f64::NEG_INFINITY, f64::INFINITY)?, "arrival").map_err(
            |mut refusal| {
                if refusal.place == "arrival.dist" {
                    refusal.hint = "use exp, gamma, lognormal, h2, det, batch_fixed, batch_geometric or mmpp".to_owned();
                }
                refusal
            },
        )?),
    };
    let is_batch = matches!(found, Arrival::BatchFixed(_) | Arrival::BatchGeometric(_));
    let contradiction = match model {
        Model::Mmc | Model::Mgc if !found.is_poisson() => Some("Poisson arrivals (dist exp)"),
        Model::Ggc if !matches!(found, Arrival::Renewal(_)) => Some("independent interarrival times"),
        Model::Batch if !is_batch => Some("arrivals in batches"),
        Model::Mmpp if !matches!(found, Arrival::Mmpp(_)) => Some("arrivals of dist mmpp"),
        _ => None,
    };
    match contradiction {
        None => Ok(found),
        Some(what) => Err(Refusal::new(
            "arrival.dist",
            format!("model {name} has {what}, not {family}"),
            "choose the model that fits: ggc, batch or mmpp",
        )),
    }
}
