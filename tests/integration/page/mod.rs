//! Pages, as files and in a browser.

mod browser;
mod files;
