//! The tutorial's generator: `fake` draws every field, `serde` and `csv` write it, on one thread.
//!
//!   fake-generate ROWS FILE

use std::error::Error;

use fake::Fake;
use fake::faker::address::en::{CityName, CountryName, StateName};
use fake::faker::name::en::Name;
use peers::Person;
use rand::RngExt;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(rows), Some(file)) = (args.next(), args.next()) else {
        return Err("usage: fake-generate ROWS FILE".into());
    };
    let mut random = rand::rng();
    let mut csv = csv::Writer::from_path(file)?;
    for id in 1..=rows.parse()? {
        csv.serialize(Person {
            id,
            name: Name().fake_with_rng(&mut random),
            age: random.random_range(22..=65),
            is_married: random.random(),
            city: CityName().fake_with_rng(&mut random),
            state: StateName().fake_with_rng(&mut random),
            country: CountryName().fake_with_rng(&mut random),
        })?;
    }
    csv.flush()?;
    Ok(())
}
