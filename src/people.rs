//! Seeded synthetic people.
