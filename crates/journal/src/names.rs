//! Names of services: what users call them. Every other table is keyed by the id, which a rename does not touch.

use crate::digest::sum;
use crate::records::{Records, Tx, int};
use model::{Fault, Named, Names, ServiceName, Time};

impl Records<'_> {
    pub fn names(&self) -> Result<Names, Fault> {
        type Raw = (String, String, i64, i64, String, i64);
        let rows: Vec<Raw> = self.rows("SELECT name, service, current, at, by, sum FROM names ORDER BY name", &[], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))
        })?;
        let mut names = Names::default();
        for (name, service, current, at, by, s) in rows {
            self.verify("names", &name, s, &[&name, &service, &current, &at, &by])?;
            names.add(self.name("names", name)?, Named { service: self.name("names", service)?, current: current != 0 });
        }
        Ok(names)
    }
}

impl Tx<'_> {
    /// The service is called `name` from now on.
    pub fn rename(&self, service: &ServiceName, name: &ServiceName, by: &str, at: Time) -> Result<(), Fault> {
        let old = self.names()?;
        let mut new = old.clone();
        new.rename(service, name);
        for (name, named) in new.rows().filter(|(name, named)| old.get(name) != Some(*named)) {
            self.put_name(name, named, by, at)?;
        }
        Ok(())
    }

    pub fn put_name(&self, name: &ServiceName, named: &Named, by: &str, at: Time) -> Result<(), Fault> {
        let (current, at) = (i64::from(named.current), int(at.0));
        let s = sum(&[name, &named.service, &current, &at, &by]);
        self.run(
            "INSERT INTO names (name, service, current, at, by, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (name) DO UPDATE SET service = ?2, current = ?3, at = ?4, by = ?5, sum = ?6",
            &[&name.as_str(), &named.service.as_str(), &current, &at, &by, &s],
        )?;
        Ok(())
    }
}
