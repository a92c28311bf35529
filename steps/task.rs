//! Tasks of an orchestrator, and their streams.

use cucumber::gherkin::Step;
use cucumber::{then, when};

use super::World;
use super::world::{list, pairs};
use crate::harness::Settle;

#[when(regex = r#"^(?:a task is|tasks are) submitted as "([^"]+)"(?: with)?$"#)]
fn submitted(world: &mut World, step: &Step, labels: String) {
    let changes = pairs(step);
    list(&labels).iter().try_for_each(|label| world.scene.submit(label, &changes)).settle();
}

#[when(
    regex = r#"^the stream of "([^"]+)" is read (verbosely )?(from its beginning|after event \d+|after the last) as "([^"]+)"$"#
)]
fn read_again(world: &mut World, label: String, verbose: String, from: String, as_label: String) {
    world.scene.read_again(&label, &as_label, &from, !verbose.is_empty()).settle();
}

#[then(regex = r#"^the stream "([^"]+)" can be resumed after each of its events$"#)]
fn resumes(world: &mut World, label: String) {
    world.scene.resumes_everywhere(&label).settle();
}

#[then(regex = r#"^"([^"]+)" and "([^"]+)" make up "([^"]+)", to the byte$"#)]
fn make_up(world: &mut World, first: String, second: String, whole: String) {
    world.scene.parts_make_up(&first, &second, &whole).settle();
}

#[then(regex = r#"^"([^"]+)" started when it was predicted to$"#)]
fn as_predicted(world: &mut World, labels: String) {
    list(&labels).iter().try_for_each(|label| world.scene.started_as_predicted(label)).settle();
}

#[then(regex = r#"^the texts of "([^"]+)" are (equal|different)$"#)]
fn texts_are(world: &mut World, labels: String, how: String) {
    world.scene.task_texts_are(&list(&labels), how == "equal").settle();
}

#[then(regex = r#"^"([^"]+)" and "([^"]+)" ran in (the same pool|different pools)$"#)]
fn ran_in(world: &mut World, one: String, other: String, how: String) {
    world.scene.ran_in_the_same_pool(&one, &other, how == "the same pool").settle();
}

#[then("all ways to say when to come back agree")]
fn backoffs_agree(world: &mut World) {
    world.scene.backoffs_agree().settle();
}
