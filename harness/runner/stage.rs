//! The stage: a `cucumber::Runner` that plays every case on a thread of its own.
//!
//! Cucumber's own runner plays all scenarios in one task, where a step that computes for half a second delays the clocks
//! of all others, and a step that never returns ends the run. Here a case has its thread and its runtime, so a step may
//! simply block; and a case that outlives its deadline is ended by the conductor, which never blocks, by name.

use std::any::Any;
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use cucumber::event::{self, Event, HookType, Info, Source, StepError};
use cucumber::{parser, step};
use futures::channel::mpsc::UnboundedSender;
use futures::stream::LocalBoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::panics::{self, Verbatim};
use super::{Actor, Gated, Terms, gate};
use crate::harness::case::Case;
use crate::harness::catalogue::address_of;
use crate::harness::verdict::Finding;

/// A step that waits asynchronously is ended by its own thread; one that blocks, by the conductor, this much later.
const GRACE: Duration = Duration::from_secs(2);

pub(super) struct Stage<W: Actor> {
    session: Arc<W::Session>,
    steps: Arc<step::Collection<W>>,
    cases: HashMap<String, Arc<Case>>,
    terms: Terms,
}

impl<W: Actor> Stage<W> {
    pub(super) fn new(session: Arc<W::Session>, steps: step::Collection<W>, cases: &[Arc<Case>], terms: Terms) -> Self {
        let cases = cases.iter().map(|case| (case.address.clone(), Arc::clone(case))).collect();
        Stage { session, steps: Arc::new(steps), cases, terms }
    }
}

type Item<W> = parser::Result<Event<event::Cucumber<W>>>;

impl<W: Actor> cucumber::Runner<W> for Stage<W> {
    type Cli = cucumber::cli::Empty;
    type EventStream = LocalBoxStream<'static, Item<W>>;

    fn run<S>(self, features: S, _: Self::Cli) -> Self::EventStream
    where
        S: Stream<Item = parser::Result<gherkin::Feature>> + 'static,
    {
        let (sender, events) = futures::channel::mpsc::unbounded();
        let conduct = conduct(self, features, sender).into_stream().map(|()| None);
        futures::stream::select(events.map(Some), conduct).filter_map(std::future::ready).boxed_local()
    }
}

/// One scenario to be played, with all that its events have to carry.
struct Part {
    feature: Source<gherkin::Feature>,
    rule: Option<Source<gherkin::Rule>>,
    scenario: Source<gherkin::Scenario>,
    case: Arc<Case>,
    /// The background's first.
    lines: Vec<Line>,
}

#[derive(Clone)]
struct Line {
    step: Source<gherkin::Step>,
    is_background: bool,
}

/// What a case's thread says to the conductor; steps by their number.
enum Note {
    Started(usize),
    Passed(usize, regex::CaptureLocations, Option<step::Location>),
    Undefined(usize),
    Ambiguous(usize, step::AmbiguousMatchError),
    Failed(usize, Box<dyn Any + Send>),
    /// After the last step, while the world was dropped.
    FellApart(Box<dyn Any + Send>),
    Ended,
}

/// A case on its thread, as the conductor sees it.
struct Playing {
    deadline: Instant,
    step: usize,
    failed: bool,
}

async fn conduct<W: Actor, S>(stage: Stage<W>, features: S, events: UnboundedSender<Item<W>>)
where
    S: Stream<Item = parser::Result<gherkin::Feature>> + 'static,
{
    let mut score = Score { events, parts: Vec::new(), left: HashMap::new(), begun: HashSet::new() };
    score.send(event::Cucumber::Started);
    score.read(features, &stage.cases).await;
    let number_of = |serial: bool| {
        let parts = score.parts.iter().enumerate();
        parts.filter(move |(_, part)| part.case.serial == serial).map(|(number, _)| number).collect::<VecDeque<_>>()
    };
    let (mut together, mut alone) = (number_of(false), number_of(true));
    let (notes, mut heard) = mpsc::unbounded_channel();
    let mut playing: HashMap<usize, Playing> = HashMap::new();
    loop {
        // Serial cases come last, each on an empty stage.
        while playing.len() < stage.terms.jobs.max(1) {
            let next = together.pop_front().or_else(|| playing.is_empty().then(|| alone.pop_front()).flatten());
            let Some(number) = next else { break };
            let serial = score.parts[number].case.serial;
            let deadline = Instant::now() + stage.terms.deadline;
            score.begin(number);
            playing.insert(number, Playing { deadline, step: 0, failed: false });
            if let Err(problem) = spawn(&stage, &score.parts[number], number, deadline, notes.clone()) {
                let finding = Finding::error("a thread for the case", problem.to_string());
                score.failed(number, 0, Box::new(Verbatim(finding)));
                score.end(number);
                playing.remove(&number);
            }
            if serial {
                break;
            }
        }
        let Some(earliest) = playing.values().map(|case| case.deadline).min() else { break };
        tokio::select! {
            Some((number, note)) = heard.recv() => {
                // A case that was ended for being late may still speak; nobody listens.
                let Some(case) = playing.get_mut(&number) else { continue };
                if score.hear(number, case, note) {
                    playing.remove(&number);
                }
            }
            () = tokio::time::sleep_until(earliest + GRACE) => {
                let now = Instant::now();
                let late: Vec<usize> =
                    playing.iter().filter(|(_, case)| case.deadline + GRACE <= now).map(|(number, _)| *number).collect();
                for number in late {
                    if let Some(case) = playing.remove(&number) {
                        score.give_up(number, &case, stage.terms.deadline);
                    }
                }
            }
        }
    }
    score.send(event::Cucumber::Finished);
}

/// The parts, and the events that are owed about them.
struct Score<W> {
    events: UnboundedSender<Item<W>>,
    parts: Vec<Part>,
    /// Scenarios not yet ended, by feature and by rule.
    left: HashMap<Group, usize>,
    begun: HashSet<Group>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Group {
    Feature(Source<gherkin::Feature>),
    Rule(Source<gherkin::Feature>, Source<gherkin::Rule>),
}

impl<W: 'static> Score<W> {
    fn send(&self, event: event::Cucumber<W>) {
        // Nobody listens any more after an interruption.
        let _ = self.events.unbounded_send(Ok(Event::new(event)));
    }

    async fn read<S>(&mut self, features: S, cases: &HashMap<String, Arc<Case>>)
    where
        S: Stream<Item = parser::Result<gherkin::Feature>> + 'static,
    {
        let mut features = std::pin::pin!(features);
        let (mut count, mut rules, mut steps, mut parser_errors) = (0, 0, 0, 0);
        while let Some(feature) = features.next().await {
            let feature = match feature {
                Ok(feature) => Source::new(feature),
                Err(problem) => {
                    parser_errors += 1;
                    let _ = self.events.unbounded_send(Err(problem));
                    continue;
                }
            };
            count += 1;
            rules += feature.rules.len();
            let ruled = feature.rules.iter().map(|rule| (Some(Source::new(rule.clone())), rule.scenarios.as_slice()));
            for (rule, scenarios) in std::iter::once((None, feature.scenarios.as_slice())).chain(ruled) {
                for scenario in scenarios {
                    let Some(case) = address_of(scenario).and_then(|address| cases.get(address)) else { continue };
                    let backgrounds =
                        [feature.background.as_ref(), rule.as_ref().and_then(|rule| rule.background.as_ref())];
                    let background = backgrounds.into_iter().flatten().flat_map(|background| &background.steps);
                    let lines: Vec<Line> = background
                        .map(|step| Line { step: Source::new(step.clone()), is_background: true })
                        .chain(
                            scenario
                                .steps
                                .iter()
                                .map(|step| Line { step: Source::new(step.clone()), is_background: false }),
                        )
                        .collect();
                    steps += lines.len();
                    let part = Part {
                        feature: feature.clone(),
                        rule: rule.clone(),
                        scenario: Source::new(scenario.clone()),
                        case: Arc::clone(case),
                        lines,
                    };
                    for group in part.groups() {
                        *self.left.entry(group).or_default() += 1;
                    }
                    self.parts.push(part);
                }
            }
        }
        let scenarios = self.parts.len();
        self.send(event::Cucumber::ParsingFinished { features: count, rules, scenarios, steps, parser_errors });
    }

    fn begin(&mut self, number: usize) {
        for group in self.parts[number].groups() {
            if self.begun.insert(group.clone()) {
                self.send(match group {
                    Group::Feature(feature) => event::Cucumber::feature_started(feature),
                    Group::Rule(feature, rule) => event::Cucumber::rule_started(feature, rule),
                });
            }
        }
        self.say(number, event::Scenario::Started);
    }

    fn say(&self, number: usize, event: event::Scenario<W>) {
        let Part { feature, rule, scenario, .. } = &self.parts[number];
        let event = event.with_retries(None);
        self.send(event::Cucumber::scenario(feature.clone(), rule.clone(), scenario.clone(), event));
    }

    fn say_step(&self, number: usize, step: usize, event: event::Step<W>) {
        let Line { step, is_background } = self.parts[number].lines[step].clone();
        let event =
            if is_background { event::Scenario::Background(step, event) } else { event::Scenario::Step(step, event) };
        self.say(number, event);
    }

    fn failed(&self, number: usize, step: usize, payload: Box<dyn Any + Send>) {
        self.say_step(number, step, event::Step::Failed(None, None, None, StepError::Panic(Info::from(payload))));
    }

    /// True when the case has ended.
    fn hear(&mut self, number: usize, case: &mut Playing, note: Note) -> bool {
        match note {
            Note::Started(step) => {
                case.step = step;
                self.say_step(number, step, event::Step::Started);
            }
            Note::Passed(step, captures, location) => {
                self.say_step(number, step, event::Step::Passed(captures, location));
            }
            Note::Undefined(step) => {
                case.failed = true;
                self.say_step(number, step, event::Step::Skipped);
            }
            Note::Ambiguous(step, matches) => {
                case.failed = true;
                let problem = StepError::AmbiguousMatch(matches);
                self.say_step(number, step, event::Step::Failed(None, None, None, problem));
            }
            Note::Failed(step, payload) => {
                case.failed = true;
                self.failed(number, step, payload);
            }
            Note::FellApart(payload) => {
                self.say(number, event::Scenario::hook_failed(HookType::After, None, Info::from(payload)));
            }
            Note::Ended => {
                self.end(number);
                return true;
            }
        }
        false
    }

    /// Ends a case whose thread does not come back. The thread is left behind: it ends with the process.
    fn give_up(&mut self, number: usize, case: &Playing, deadline: Duration) {
        let text = sentence(&self.parts[number].lines[case.step].step);
        if case.failed {
            let finding = overdue("the case's clean-up", deadline);
            let info: Box<dyn Any + Send> = Box::new(Verbatim(finding));
            self.say(number, event::Scenario::hook_failed(HookType::After, None, Info::from(info)));
        } else {
            self.failed(number, case.step, Box::new(Verbatim(overdue(&text, deadline))));
        }
        self.end(number);
    }

    fn end(&mut self, number: usize) {
        self.say(number, event::Scenario::Finished);
        for group in self.parts[number].groups().into_iter().rev() {
            let left = self.left.entry(group.clone()).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.send(match group {
                    Group::Feature(feature) => event::Cucumber::feature_finished(feature),
                    Group::Rule(feature, rule) => event::Cucumber::rule_finished(feature, rule),
                });
            }
        }
    }
}

impl Part {
    /// Outermost first.
    fn groups(&self) -> Vec<Group> {
        let rule = self.rule.as_ref().map(|rule| Group::Rule(self.feature.clone(), rule.clone()));
        std::iter::once(Group::Feature(self.feature.clone())).chain(rule).collect()
    }
}

/// A step with its keyword, as it is written.
pub(super) fn sentence(step: &gherkin::Step) -> String {
    format!("{} {}", step.keyword.trim(), step.value)
}

fn overdue(step: &str, deadline: Duration) -> Finding {
    let seconds = deadline.as_secs_f64();
    Finding::error(format!("the case to end within {seconds} s"), format!("still in: {step}"))
}

type Notes = mpsc::UnboundedSender<(usize, Note)>;

fn spawn<W: Actor>(
    stage: &Stage<W>,
    part: &Part,
    number: usize,
    deadline: Instant,
    notes: Notes,
) -> std::io::Result<()> {
    let name = panics::thread_name(&part.case.address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_name(name.clone()).build()?;
    let player = Player {
        session: Arc::clone(&stage.session),
        collection: Arc::clone(&stage.steps),
        case: Arc::clone(&part.case),
        steps: part.lines.iter().map(|line| line.step.clone()).collect(),
        gated: gate(&*stage.session, &part.case, &stage.terms.required),
        deadline,
        patience: stage.terms.deadline,
        name: name.clone(),
        number,
        notes,
    };
    let play = move || {
        runtime.block_on(player.play());
        // Work that a step left on the blocking pool must not hold this thread.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name(name).spawn(play).map(drop)
}

/// One case on its own thread.
struct Player<W: Actor> {
    session: Arc<W::Session>,
    collection: Arc<step::Collection<W>>,
    case: Arc<Case>,
    steps: Vec<Source<gherkin::Step>>,
    gated: Option<Gated>,
    deadline: Instant,
    patience: Duration,
    name: String,
    number: usize,
    notes: Notes,
}

impl<W: Actor> Player<W> {
    fn tell(&self, note: Note) {
        let _ = self.notes.send((self.number, note));
    }

    async fn play(self) {
        if let Some(world) = self.play_steps().await
            && let Err(payload) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(world)))
        {
            self.tell(Note::FellApart(self.read_panic(payload)));
        }
        panics::take_notes(&self.name);
        self.tell(Note::Ended);
    }

    /// Returns the world, to be dropped, however the steps ended.
    async fn play_steps(&self) -> Option<W> {
        // All steps are looked up before the first is played, in cases that are not played too: what has no definition
        // fails the run even behind a step that skips.
        for (number, step) in self.steps.iter().enumerate() {
            match self.collection.find(step) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.tell(Note::Undefined(number));
                    return None;
                }
                Err(matches) => {
                    self.tell(Note::Ambiguous(number, matches));
                    return None;
                }
            }
        }
        self.tell(Note::Started(0));
        let refused: Option<Box<dyn Any + Send>> = match &self.gated {
            Some(Gated::Out(finding)) => Some(Box::new(finding.clone())),
            Some(Gated::Required(finding)) => Some(Box::new(Verbatim(finding.clone()))),
            None => None,
        };
        if let Some(payload) = refused {
            self.tell(Note::Failed(0, payload));
            return None;
        }
        let enter = || W::enter(Arc::clone(&self.session), Arc::clone(&self.case));
        let mut world = match std::panic::catch_unwind(AssertUnwindSafe(enter)) {
            Ok(Ok(world)) => world,
            Ok(Err(finding)) => {
                self.tell(Note::Failed(0, Box::new(finding)));
                return None;
            }
            Err(payload) => {
                self.tell(Note::Failed(0, self.read_panic(payload)));
                return None;
            }
        };
        for (number, step) in self.steps.iter().enumerate() {
            if number > 0 {
                self.tell(Note::Started(number));
            }
            let Ok(Some((play, captures, location, context))) = self.collection.find(step) else { break };
            let step_ended = AssertUnwindSafe(play(&mut world, context)).catch_unwind();
            let payload: Box<dyn Any + Send> = match tokio::time::timeout_at(self.deadline, step_ended).await {
                Ok(Ok(())) => {
                    self.tell(Note::Passed(number, captures, location));
                    continue;
                }
                Ok(Err(payload)) => self.read_panic(payload),
                Err(_) => Box::new(Verbatim(overdue(&sentence(step), self.patience))),
            };
            self.tell(Note::Failed(number, payload));
            break;
        }
        Some(world)
    }

    /// A finding stays what it is; any other panic is the harness's own failure, with its place.
    fn read_panic(&self, payload: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
        if payload.is::<Finding>() || payload.is::<Verbatim>() {
            return payload;
        }
        let finding = Finding::error("the step to end without a panic", panics::text_of(&*payload));
        let places = panics::take_notes(&self.name);
        let finding = if places.is_empty() { finding } else { finding.with("panicked at", places.join("\n")) };
        Box::new(Verbatim(finding))
    }
}
