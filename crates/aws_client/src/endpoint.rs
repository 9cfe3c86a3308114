//! Where a service answers: by region and partition, with FIPS, or at an address of the user's own.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    S3,
    S3Control,
    Ec2,
    Rds,
    Sts,
}

impl Service {
    /// In the scope of a signature.
    pub fn signing_name(self) -> &'static str {
        match self {
            Service::S3 | Service::S3Control => "s3",
            Service::Ec2 => "ec2",
            Service::Rds => "rds",
            Service::Sts => "sts",
        }
    }

    fn host_name(self) -> &'static str {
        match self {
            Service::S3Control => "s3-control",
            other => other.signing_name(),
        }
    }

    /// As `AWS_ENDPOINT_URL_…` names it.
    fn variable(self) -> &'static str {
        match self {
            Service::S3 => "AWS_ENDPOINT_URL_S3",
            Service::S3Control => "AWS_ENDPOINT_URL_S3_CONTROL",
            Service::Ec2 => "AWS_ENDPOINT_URL_EC2",
            Service::Rds => "AWS_ENDPOINT_URL_RDS",
            Service::Sts => "AWS_ENDPOINT_URL_STS",
        }
    }

    /// How many addresses of GovCloud are FIPS's by themselves: <https://aws.amazon.com/compliance/fips/>.
    fn is_fips_in_gov(self) -> bool {
        matches!(self, Service::Ec2 | Service::Rds | Service::Sts)
    }
}

const PARTITIONS: &[(&str, &str, &str)] = &[
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
];

/// The partition of a region and its domain.
pub fn partition(region: &str) -> (&'static str, &'static str) {
    let found = PARTITIONS.iter().find(|(prefix, ..)| region.starts_with(prefix));
    found.map_or(("aws", "amazonaws.com"), |(_, name, domain)| (name, domain))
}

/// Whether the name of a host is one that only AWS can have a certificate for.
fn is_of_aws(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("https://") else { return false };
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    PARTITIONS.iter().any(|(.., domain)| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// For every service.
    all: Option<String>,
    own: BTreeMap<Service, String>,
    pub fips: bool,
}

impl Endpoints {
    /// `flag` is for every service and before `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_S3` of the environment.
    pub fn new(flag: Option<&str>, environment: &BTreeMap<String, String>, fips: bool) -> Endpoints {
        let get = |name: &str| environment.get(name).filter(|v| !v.is_empty()).cloned();
        let is_ignored = get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|v| v == "true");
        let is_on = |name| get(name).is_some_and(|v| v == "true");
        let services = [Service::S3, Service::S3Control, Service::Ec2, Service::Rds, Service::Sts];
        let read = flag.is_none() && !is_ignored;
        Endpoints {
            all: flag.map(str::to_string).or_else(|| get("AWS_ENDPOINT_URL").filter(|_| read)),
            own: services.into_iter().filter(|_| read).filter_map(|s| get(s.variable()).map(|url| (s, url))).collect(),
            fips: fips || is_on("AWS_USE_FIPS_ENDPOINT"),
        }
    }

    pub fn is_custom(&self, service: Service) -> bool {
        self.own.contains_key(&service) || self.all.is_some()
    }

    /// What answers instead of AWS. None: AWS itself, also by an address of its own in a private network.
    pub fn elsewhere(&self) -> Option<String> {
        let of_services = self.own.iter().map(|(service, url)| format!("{}={}", service.host_name(), url.trim_end_matches('/')));
        let of_all = self.all.iter().map(|url| url.trim_end_matches('/').to_string());
        let custom: Vec<String> = of_all.chain(of_services).filter(|url| !is_of_aws(url)).collect();
        (!custom.is_empty()).then(|| custom.join(" "))
    }

    /// The URL without a slash at its end. Buckets are named in the path, so that one connection serves all of them.
    pub fn url(&self, service: Service, region: &str, account: &str) -> String {
        if let Some(url) = self.own.get(&service).or(self.all.as_ref()) {
            return url.trim_end_matches('/').to_string();
        }
        let (partition, domain) = partition(region);
        let in_gov = partition == "aws-us-gov" && service.is_fips_in_gov();
        let fips = if self.fips && !in_gov { "-fips" } else { "" };
        let account = if service == Service::S3Control { format!("{account}.") } else { String::new() };
        format!("https://{account}{}{fips}.{region}.{domain}", service.host_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_partitions() {
        let plain = Endpoints::default();
        let fips = Endpoints { fips: true, ..Endpoints::default() };
        for (endpoints, service, region, url) in [
            (&plain, Service::S3, "eu-central-1", "https://s3.eu-central-1.amazonaws.com"),
            (&plain, Service::S3Control, "us-east-1", "https://123456789012.s3-control.us-east-1.amazonaws.com"),
            (&plain, Service::Ec2, "cn-north-1", "https://ec2.cn-north-1.amazonaws.com.cn"),
            (&plain, Service::Sts, "us-iso-east-1", "https://sts.us-iso-east-1.c2s.ic.gov"),
            (&fips, Service::S3, "us-east-1", "https://s3-fips.us-east-1.amazonaws.com"),
            (&fips, Service::S3Control, "us-west-2", "https://123456789012.s3-control-fips.us-west-2.amazonaws.com"),
            (&fips, Service::Ec2, "us-gov-west-1", "https://ec2.us-gov-west-1.amazonaws.com"),
            (&fips, Service::S3, "us-gov-west-1", "https://s3-fips.us-gov-west-1.amazonaws.com"),
        ] {
            assert_eq!(endpoints.url(service, region, "123456789012"), url);
        }
    }

    #[test]
    fn own_addresses() {
        let set = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<BTreeMap<_, _>>();
        let variables = set(&[("AWS_ENDPOINT_URL", "http://h:1/"), ("AWS_ENDPOINT_URL_S3", "http://h:2")]);
        let from_environment = Endpoints::new(None, &variables, false);
        assert_eq!(from_environment.url(Service::S3, "r", "1"), "http://h:2");
        assert_eq!(from_environment.url(Service::Ec2, "r", "1"), "http://h:1");
        let by_flag = Endpoints::new(Some("http://f:3"), &variables, false);
        assert_eq!(by_flag.url(Service::S3, "r", "1"), "http://f:3");
        let ignored = set(&[("AWS_ENDPOINT_URL", "http://h:1"), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]);
        assert!(!Endpoints::new(None, &ignored, false).is_custom(Service::S3));
        let elsewhere = |flag, pairs: &[(&str, &str)]| Endpoints::new(flag, &set(pairs), false).elsewhere();
        assert_eq!(elsewhere(None, &[]), None);
        assert_eq!(elsewhere(Some("http://f:3/"), &[("AWS_ENDPOINT_URL", "http://h:1")]).as_deref(), Some("http://f:3"));
        let several = [("AWS_ENDPOINT_URL", "http://h:1/"), ("AWS_ENDPOINT_URL_S3", "http://h:2")];
        assert_eq!(elsewhere(None, &several).as_deref(), Some("http://h:1 s3=http://h:2"));
        // An address of AWS in a private network is AWS; another's that looks like one is not, nor is one that anybody could answer.
        assert_eq!(elsewhere(Some("https://bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com"), &[]), None);
        for other in [
            "https://amazonaws.com.example.org",
            "https://notamazonaws.com",
            "http://s3.eu-central-1.amazonaws.com",
            "https://h:1/.amazonaws.com",
        ] {
            assert_eq!(elsewhere(Some(other), &[]).as_deref(), Some(other));
        }
    }
}
