//! How a step and a group are named on the command line.

use model::{RotationId, ServiceName};

/// `web.7/4`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub rotation: RotationId,
    pub step: u32,
}

impl std::str::FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (rotation, step) = text.split_once('/').ok_or("a step is written ROTATION/PLACE, as in web.7/4")?;
        let rotation = RotationId::new(rotation).map_err(|e| e.to_string())?;
        let step = step.parse().map_err(|_| format!("{step:?} is no step: steps are counted from 0"))?;
        Ok(Self { rotation, step })
    }
}

/// The service of a group: `web` of `web-r42-7`. Group names are made in one place only, so they can be taken apart.
pub fn service_of(group: &str) -> Option<ServiceName> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (rest, rotation) = group.rsplit_once('-')?;
    let (service, release) = rest.rsplit_once("-r")?;
    (digits(rotation) && digits(release)).then(|| ServiceName::new(service).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_groups_are_taken_apart() {
        let place: Place = "web.7/4".parse().unwrap();
        assert_eq!((place.rotation.to_string().as_str(), place.step), ("web.7", 4));
        for bad in ["web.7", "web/4", "web.7/x", "/", "web.7/-1"] {
            assert!(bad.parse::<Place>().is_err(), "{bad:?} was taken");
        }
        assert_eq!(service_of("my-r2-web-r42-7").map(String::from).as_deref(), Some("my-r2-web"));
        for bad in ["web", "web-7", "web-r-7", "web-r1-", "-r1-7"] {
            assert_eq!(service_of(bad), None, "{bad:?} was taken");
        }
    }
}
