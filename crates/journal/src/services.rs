//! Services: the desired state, generation by generation.

use crate::digest::sum;
use crate::records::{Lists, Records, Tx, encode, int, nat};
use model::{Fault, ServiceName, ServiceSpec, Time};

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceRow {
    pub spec: ServiceSpec,
    /// Counts the edits of this service from 1.
    pub generation: u64,
    pub at: Time,
    pub by: String,
}

/// What the table `services` itself holds: the newest generation and the last rotation number given.
pub(crate) struct Head {
    pub generation: u64,
    pub rotation_last: u64,
}

impl Records<'_> {
    pub(crate) fn head(&self, service: &ServiceName) -> Result<Option<Head>, Fault> {
        let row = self.row("SELECT generation, rotation_last, sum FROM services WHERE name = ?1", &[&service.as_str()], |r| {
            Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?))
        })?;
        let Some((generation, last, s)) = row else { return Ok(None) };
        self.verify("services", service, s, &[service, &generation, &last])?;
        Ok(Some(Head { generation: nat(generation), rotation_last: nat(last) }))
    }

    /// The newest desired state.
    pub fn service(&self, service: &ServiceName) -> Result<Option<ServiceRow>, Fault> {
        let Some(head) = self.head(service)? else { return Ok(None) };
        let mut rows = self.history_from(service, head.generation)?;
        match rows.pop() {
            Some(row) if row.generation == head.generation => Ok(Some(row)),
            _ => Err(crate::fault::corrupt_row(self.path, "history", format_args!("{service} generation {}", head.generation))),
        }
    }

    pub(crate) fn every_service_name(&self) -> Result<Vec<ServiceName>, Fault> {
        let names = self.rows("SELECT name FROM services ORDER BY name", &[], |r| r.get::<_, String>(0))?;
        names.into_iter().map(|name| self.name("services", name)).collect()
    }

    pub(crate) fn generation(&self, service: &ServiceName, generation: u64) -> Result<Option<ServiceRow>, Fault> {
        Ok(self.history_between(service, generation, generation)?.pop())
    }

    /// The newest generation with this spec.
    pub(crate) fn generation_of(&self, service: &ServiceName, spec: &ServiceSpec) -> Result<Option<u64>, Fault> {
        Ok(self.history(service)?.into_iter().rev().find(|row| row.spec == *spec).map(|row| row.generation))
    }

    /// Every generation, oldest first.
    pub fn history(&self, service: &ServiceName) -> Result<Vec<ServiceRow>, Fault> {
        self.history_from(service, 0)
    }

    fn history_from(&self, service: &ServiceName, generation: u64) -> Result<Vec<ServiceRow>, Fault> {
        self.history_between(service, generation, u64::MAX)
    }

    fn history_between(&self, service: &ServiceName, from: u64, to: u64) -> Result<Vec<ServiceRow>, Fault> {
        let rows = self.rows(
            "SELECT generation, at, by, spec, sum FROM history WHERE service = ?1 AND generation BETWEEN ?2 AND ?3 ORDER BY generation",
            &[&service.as_str(), &int(from), &int(to)],
            |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, String>(2)?, r.get::<_, String>(3)?, r.get::<_, i64>(4)?)),
        )?;
        rows.into_iter()
            .map(|(generation, at, by, body, s)| {
                let key = format!("{service} generation {generation}");
                self.verify("history", &key, s, &[service, &generation, &at, &by, &body])?;
                Ok(ServiceRow { spec: self.decode("history", &key, &body)?, generation: nat(generation), at: Time(nat(at)), by })
            })
            .collect()
    }
}

impl Lists<'_> {
    pub fn service_names(&self) -> Result<Vec<ServiceName>, Fault> {
        self.every_service_name()
    }

    /// All services by name, each with its newest desired state.
    pub fn services(&self) -> Result<Vec<ServiceRow>, Fault> {
        let mut all = Vec::new();
        for name in self.every_service_name()? {
            all.extend(self.service(&name)?);
        }
        Ok(all)
    }
}

impl Tx<'_> {
    /// Records a desired state; returns its generation. The same one again makes no new generation.
    pub fn put_service(&self, spec: &ServiceSpec, by: &str, at: Time) -> Result<u64, Fault> {
        let old = self.service(&spec.name)?;
        if let Some(old) = &old
            && old.spec == *spec
        {
            return Ok(old.generation);
        }
        let last = self.head(&spec.name)?.map_or(0, |h| h.rotation_last);
        let generation = old.map_or(1, |o| o.generation + 1);
        self.put_head(&spec.name, &Head { generation, rotation_last: last })?;
        let body = encode(spec)?;
        let at = int(at.0);
        let s = sum(&[&spec.name, &int(generation), &at, &by, &body]);
        self.run(
            "INSERT INTO history (service, generation, at, by, spec, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            &[&spec.name.as_str(), &int(generation), &at, &by, &body, &s],
        )?;
        Ok(generation)
    }

    /// Later rotations of the service get numbers above this one: groups with numbers up to it exist already.
    pub fn outnumber(&self, service: &ServiceName, seen: u64) -> Result<(), Fault> {
        match self.head(service)? {
            Some(head) if head.rotation_last < seen => self.put_head(service, &Head { rotation_last: seen, ..head }),
            _ => Ok(()),
        }
    }

    pub(crate) fn put_head(&self, service: &ServiceName, head: &Head) -> Result<(), Fault> {
        let (generation, last) = (int(head.generation), int(head.rotation_last));
        let s = sum(&[service, &generation, &last]);
        self.run(
            "INSERT INTO services (name, generation, rotation_last, sum) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET generation = ?2, rotation_last = ?3, sum = ?4",
            &[&service.as_str(), &generation, &last, &s],
        )?;
        Ok(())
    }
}
