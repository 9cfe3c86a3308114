//! `step run`: a step of a rotation again, or one made by hand.

use super::step_place::{Place, service_of};
use super::units::{millis, ppm};
use crate::context::Context;
use crate::failure::Failure;
use api::control::{ImageRow, ReleaseRow, StepRequest};
use clap::Args;
use model::{Digest, Fault, FewRequests, GroupName, ImageName, RouteName, ServiceName, Step};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

#[derive(Args, Debug)]
pub struct Run {
    /// A step of a rotation (`web.7/4`), or the kind of one by hand: bake, check, scale, shift, soak, drain, retire
    #[arg(value_name = "STEP")]
    pub what: String,
    /// By hand: the group (`web-r42-7`); for shift the route, for bake the image
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// scale: the number of servers
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// shift: shares that sum to 100
    #[arg(long, value_name = "GROUP=PERCENT", value_delimiter = ',', value_parser = weight)]
    pub weights: Vec<(GroupName, u32)>,
    /// soak: the duration
    #[arg(long = "for", value_name = "TIME", value_parser = millis)]
    pub for_ms: Option<u64>,
    /// soak: the highest share of failed responses
    #[arg(long, value_name = "PERCENT", value_parser = ppm, default_value = "1%")]
    pub errors: u32,
    /// drain, check: the time limit
    #[arg(long = "within", value_name = "TIME", value_parser = millis, default_value = "30s")]
    pub within_ms: u64,
    /// check: the command, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// bake: these objects; by default those of the service's newest release
    #[arg(long, value_name = "DIGEST")]
    pub object: Vec<Digest>,
    /// bake: the service whose journal records it
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
}

fn yours(text: impl Into<String>) -> Fault {
    Fault::yours("bad-step", text).hint("`afresh step run --help` has an example of each")
}

impl Run {
    pub async fn request(self, context: &Context) -> Result<StepRequest, Failure> {
        if self.what.contains('/') {
            let place: Place = self.what.parse().map_err(yours)?;
            return Ok(StepRequest::Of { rotation: place.rotation, step: place.step });
        }
        let name = self.name.clone().ok_or_else(|| yours(format!("step run {}: of what?", self.what)))?;
        let (service, step) = match self.what.as_str() {
            "bake" => self.bake(context, &name).await?,
            "shift" => {
                let route = RouteName::new(&name).map_err(|e| yours(e.to_string()))?;
                let service = ServiceName::new(&name).map_err(|e| yours(e.to_string()))?;
                (self.service.clone().unwrap_or(service), Step::Shift { route, weights: self.weights()? })
            }
            _ => self.of_group(&name)?,
        };
        Ok(StepRequest::Hand { service, step })
    }

    fn of_group(&self, name: &str) -> Result<(ServiceName, Step), Fault> {
        let group = GroupName::new(name).map_err(|e| yours(e.to_string()))?;
        let service = self.service.clone().or_else(|| service_of(name));
        let service = service.ok_or_else(|| yours(format!("{name:?} is not a group name: they look like web-r42-7")))?;
        let step = match self.what.as_str() {
            "scale" => Step::Scale { group, count: self.count.ok_or_else(|| yours("scale needs --count"))? },
            "soak" => Step::Soak {
                group,
                for_ms: self.for_ms.ok_or_else(|| yours("soak needs --for"))?,
                errors_ppm: self.errors,
                min_requests: 0,
                few_requests: FewRequests::GoOn,
            },
            "drain" => Step::Drain { group, within_ms: self.within_ms },
            "retire" => Step::Retire { group },
            "check" if self.command.is_empty() => return Err(yours("check needs a command: step run check web-r42-7 -- python3 test.py")),
            "check" => {
                // A group of its own, named after the command: the same check again is the same step, and changes nothing.
                let mark = hex::encode(&Sha256::digest(self.command.join("\0"))[..4]);
                let own = GroupName::new(format!("{group}-c{mark}")).map_err(|e| yours(e.to_string()))?;
                Step::Check { group: own, of: group, command: self.command.clone(), within_ms: self.within_ms }
            }
            other => return Err(yours(format!("{other:?} is neither a step (web.7/4) nor a kind of step"))),
        };
        Ok((service, step))
    }

    fn weights(&self) -> Result<BTreeMap<GroupName, u32>, Fault> {
        let weights: BTreeMap<GroupName, u32> = self.weights.iter().cloned().collect();
        let sum: u64 = weights.values().map(|w| u64::from(*w)).sum();
        match sum {
            100 => Ok(weights),
            _ => Err(yours(format!("the weights sum to {sum}, not to 100"))),
        }
    }

    async fn bake(&self, context: &Context, image: &str) -> Result<(ServiceName, Step), Failure> {
        let image = ImageName::new(image).map_err(|e| yours(e.to_string()))?;
        let service = self.service.clone().ok_or_else(|| yours("bake needs --service: its journal records the step"))?;
        let mut objects = self.object.clone();
        if objects.is_empty() {
            let rows: Vec<ReleaseRow> = context.api().get(&format!("/v1/releases?service={service}")).await?;
            let newest = rows.into_iter().map(|row| row.release).filter(|r| r.image_name == image).max_by_key(|r| r.number);
            objects = newest.map(|r| std::iter::once(r.image).chain(r.artifact).collect()).unwrap_or_default();
        }
        if objects.is_empty() {
            let rows: Vec<ImageRow> = context.api().get("/v1/images").await?;
            objects =
                rows.into_iter().filter(|row| row.name == image).max_by_key(|row| row.baked).map(|row| row.digest).into_iter().collect();
        }
        if objects.is_empty() {
            return Err(yours(format!("nothing is known of image {image}: name its --object")).into());
        }
        Ok((service, Step::Bake { image, objects }))
    }
}

fn weight(text: &str) -> Result<(GroupName, u32), String> {
    let (group, share) = text.split_once('=').ok_or("written GROUP=PERCENT, as in web-r42-7=100")?;
    let share = share.trim_end_matches('%').parse().ok().filter(|s| *s <= 100).ok_or("a share is 0 to 100")?;
    Ok((GroupName::new(group).map_err(|e| e.to_string())?, share))
}
