//! rules
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Beginning,
    Whole,
    OnRequest,
}
#[derive(Debug)]
pub struct Rule {
    pub name: &'static str,
}
pub const RULES: &[Rule] = &[];
