//! Sending jobs and watching them, alone and against each other.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::job::{Job, PATIENCE};
use super::{Held, Scene, cell, wait_for};
use crate::harness::Finding;
use crate::harness::http::Request;
use crate::harness::session::API_TOKEN;
use crate::harness::target::{Worker, unique};
use crate::harness::transcript::Transcript;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    Short,
    Long,
    About(Duration),
}

impl Length {
    pub fn of(word: &str) -> Length {
        match word {
            "long" => Length::Long,
            "1-second" => Length::About(Duration::from_secs(1)),
            _ => Length::Short,
        }
    }
}

/// Long enough for everything that a scenario does meanwhile.
const LONG: Duration = Duration::from_secs(3);
/// More waiting jobs than any worker should take.
const RUSH: usize = 300;
/// After a cancel, what was already on its way may still arrive.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

impl Scene {
    pub fn send_job(
        &mut self,
        label: &str,
        changes: &[(String, String)],
        headers: &[(String, String)],
    ) -> Result<(), Finding> {
        let mut body = cell::base_job(&unique("job"));
        cell::change(&mut body, changes)?;
        self.send_body(label, body, |request| {
            headers.iter().fold(request, |request, (name, value)| request.header(name, value))
        })
    }

    pub fn send_job_with_token(&mut self, label: &str) -> Result<(), Finding> {
        self.send_body(label, cell::base_job(&unique("job")), |request| request.bearer(API_TOKEN))
    }

    fn send_body(
        &mut self,
        label: &str,
        body: Map<String, Value>,
        finish: impl FnOnce(Request) -> Request,
    ) -> Result<(), Finding> {
        let job_id = body.get("job_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let request = finish(Request::post("/execute").json(&Value::Object(body)));
        self.send_request(label, &job_id, request);
        Ok(())
    }

    fn send_request(&mut self, label: &str, job_id: &str, request: Request) {
        let Some(worker) = &self.worker else { return };
        let request = if request.headers.get("authorization").is_some() { request } else { worker.authorized(request) };
        let mut job = Job::send(worker.base(), label, job_id, request);
        job.silence = self.session.silence();
        if let Some(answer) = job.refused(Duration::ZERO) {
            self.answers.push(answer.clone());
        }
        self.jobs.push(job);
    }

    pub fn send_sized_job(&mut self, label: &str, length: Length) -> Result<(), Finding> {
        let body = match length {
            Length::Short => cell::base_job(&unique("short")),
            Length::Long => self.long_job()?,
            Length::About(duration) => self.job_of(duration)?,
        };
        self.send_body(label, body, |request| request)
    }

    fn long_job(&mut self) -> Result<Map<String, Value>, Finding> {
        // On the ladder's own model every job is long: none has to be tried and hung up on, which a worker may not notice.
        match self.computes_for_seconds() {
            true => Ok(cell::base_job(&unique("long"))
                .into_iter()
                .chain([("max_tokens".to_owned(), json!(2000)), ("temperature".to_owned(), json!(0.0))])
                .collect()),
            false => self.session.long_job(self.worker()?, LONG),
        }
    }

    /// A long job, cut to the number of tokens that came within this time when it was tried.
    fn job_of(&mut self, duration: Duration) -> Result<Map<String, Value>, Finding> {
        let mut body = self.long_job()?;
        let mut trial = body.clone();
        trial.insert("job_id".into(), unique("trial").into());
        let stream = self.worker()?.execute(&Value::Object(trial))?;
        stream.wait_for_tokens(1, PATIENCE)?;
        let began = Instant::now();
        let _ = stream.wait_until("the time that the job may take", duration, |_| began.elapsed() >= duration);
        let tokens = stream.close().tokens().count();
        body.insert("max_tokens".into(), json!(tokens.max(2)));
        Ok(body)
    }

    pub fn send_again(&mut self, label: &str) -> Result<(), Finding> {
        let request = self.job(label)?.request.clone();
        let mut again = Job::send(self.worker()?.base(), "again", "", request);
        let finding = |found| Finding::fail("a refusal of the same job_id while its job is active", found);
        match again.refused(Duration::from_secs(5)) {
            Some(answer) => {
                let answer = answer.clone();
                self.answers.push(answer);
                Ok(())
            }
            None => {
                let frames = again.frames().len();
                again.disconnect();
                Err(finding(format!("it was taken a second time: a stream was opened ({frames} events so far)")))
            }
        }
    }

    /// Sends short jobs until one is refused: a worker that was told to stop does so within a moment.
    pub fn send_while_draining(&mut self) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        let answer = wait_for(Duration::from_secs(5), || {
            let request =
                worker.authorized(Request::post("/execute").json(&Value::Object(cell::base_job(&unique("too-late")))));
            let opened = worker.open(&request, crate::harness::stream::Caps::default())?;
            opened.refused().map_err(|finding| Finding {
                expected: "503 DRAINING for a new job after the worker was told to stop".into(),
                ..finding
            })
        })?;
        self.answers.push(answer);
        Ok(())
    }

    pub fn send_until_refused(&mut self) -> Result<(), Finding> {
        for count in 0..RUSH {
            self.send_sized_job(&format!("waiting-{count}"), Length::Short)?;
            if self.jobs.last_mut().is_some_and(|job| job.refused(Duration::ZERO).is_some()) {
                return Ok(());
            }
        }
        Err(Finding::fail("a bounded queue: 503 BUSY at some number of waiting jobs", format!("{RUSH} jobs wait")))
    }

    pub fn send_at_once(&mut self, count: usize) -> Result<(), Finding> {
        let (base, worker) = (self.worker()?.base().clone(), self.worker()?.clone());
        let sending: Vec<_> = (0..count)
            .map(|number| {
                let job_id = unique("rush");
                let body = Value::Object(cell::base_job(&job_id));
                let request = worker.authorized(Request::post("/execute").json(&body));
                let base = base.clone();
                std::thread::spawn(move || {
                    let mut job = Job::send(&base, &format!("rush {number}"), &job_id, request);
                    let _ = job.transcript(2 * PATIENCE);
                    job
                })
            })
            .collect();
        for sender in sending {
            let job = sender.join().map_err(|_| Finding::error("200 clients at once", "one of them panicked"))?;
            self.jobs.push(job);
        }
        Ok(())
    }

    pub fn each_ended_or_was_refused(&mut self) -> Result<(), Finding> {
        let (mut served, mut refused) = (0, 0);
        for job in &mut self.jobs {
            if let Some(answer) = job.refused(Duration::ZERO) {
                let busy = answer.status == 503 && answer.text().contains("BUSY");
                if !busy || answer.header("retry-after").is_none() {
                    let found = format!("status {} {}", answer.status, answer.text());
                    let expected = "a stream, or 503 BUSY with Retry-After, for each of 200 jobs at once";
                    return Err(answer.evidence(Finding::fail(expected, found)));
                }
                refused += 1;
            } else {
                job.transcript(PATIENCE)?.judge_all()?;
                served += 1;
            }
        }
        let nobody = || Finding::fail("at least one job served", format!("{refused} of {refused} jobs refused"));
        if served > 0 { Ok(()) } else { Err(nobody()) }
    }

    pub fn send_half_a_request(&mut self) -> Result<(), Finding> {
        use std::io::Write;
        let base = self.worker()?.base().clone();
        let half = || -> std::io::Result<std::net::TcpStream> {
            let mut connection = std::net::TcpStream::connect((base.host.as_str(), base.port))?;
            connection
                .write_all(b"POST /execute HTTP/1.1\r\nHost: llorch\r\nContent-Type: application/json\r\nContent-Le")?;
            Ok(connection)
        };
        let connection = half().map_err(|error| Finding::fail("a connection", error.to_string()))?;
        self.held.push(Held::Connection(connection));
        Ok(())
    }

    pub fn wait_for_token(&mut self, label: &str) -> Result<(), Finding> {
        self.job(label)?.wait_for_token()
    }

    pub fn wait_for_end(&mut self, labels: &[String]) -> Result<(), Finding> {
        // A long job may last as long as the contract allows: the worker's own time-out bounds it.
        labels.iter().try_for_each(|label| self.job(label)?.transcript(2 * PATIENCE).map(drop))
    }

    pub fn cancel(&mut self, label: &str) -> Result<(), Finding> {
        let job_id = self.job(label)?.job_id.clone();
        let asked = Instant::now();
        self.cancel_id(&job_id)?;
        let job = self.job(label)?;
        (job.cancel_asked, job.cancelled) = (Some(asked), Some(Instant::now()));
        Ok(())
    }

    pub fn cancel_id(&mut self, job_id: &str) -> Result<(), Finding> {
        if self.has_chain() {
            return self.cancel_task(job_id);
        }
        let answer = self.worker()?.cancel(job_id)?;
        self.answers.push(answer);
        Ok(())
    }

    pub fn disconnect(&mut self, label: &str) -> Result<(), Finding> {
        let job = self.job(label)?;
        job.disconnect();
        job.cancelled = Some(Instant::now());
        Ok(())
    }

    pub fn goes_on(&mut self, label: &str) -> Result<(), Finding> {
        let job = self.job(label)?;
        let expected = format!("the job {label:?} goes on: more of its tokens come");
        job.wait_for_more().map_err(|finding| Finding { expected, ..finding })
    }

    fn started_at(&mut self, label: &str) -> Result<Instant, Finding> {
        let job = self.job(label)?;
        job.wait_for_event("started", PATIENCE)?;
        job.arrival_of("started").ok_or_else(|| Finding::fail(format!("{label:?} starts"), "it did not"))
    }

    /// When the terminal event of a job arrived.
    fn ended_at(&mut self, label: &str) -> Result<Instant, Finding> {
        let job = self.job(label)?;
        job.transcript(2 * PATIENCE)?;
        let ended = job.arrival_of("end").or_else(|| job.arrival_of("error"));
        ended.ok_or_else(|| Finding::fail(format!("{label:?} ends with end or error"), "it did neither"))
    }

    pub fn started_after(&mut self, later: &str, earlier: &str) -> Result<(), Finding> {
        let (started, ended) = (self.started_at(later)?, self.ended_at(earlier)?);
        let early = ended.saturating_duration_since(started);
        // Two connections are read by two threads: a few milliseconds are theirs, not the worker's.
        if early <= Duration::from_millis(50) {
            return Ok(());
        }
        let found = format!("{later:?} started {early:.1?} before {earlier:?} ended");
        Err(Finding::fail(format!("{later:?} starts after {earlier:?} has ended: one job runs at a time"), found))
    }

    pub fn started_in_order(&mut self, labels: &[String]) -> Result<(), Finding> {
        let times = labels.iter().map(|label| Ok((self.started_at(label)?, label)));
        let mut order = times.collect::<Result<Vec<_>, Finding>>()?;
        order.sort();
        let found: Vec<&str> = order.iter().map(|(_, label)| label.as_str()).collect();
        if found == labels || self.told_in_order(labels) {
            return Ok(());
        }
        Err(Finding::fail(format!("jobs served in the order they came: {}", labels.join(", ")), found.join(", ")))
    }

    /// Each stream has a reader of its own, and on a busy machine a later reader may look at the clock first: the worker's
    /// `started_at` then tells the order, where it tells it for all of them and apart.
    fn told_in_order(&mut self, labels: &[String]) -> bool {
        let mut told: Vec<jiff::Timestamp> = Vec::new();
        for label in labels {
            let transcript = self.transcript(label).ok();
            let at = transcript.and_then(|transcript| transcript.field("started", "started_at"));
            told.extend(at.and_then(|at| at.as_str()?.parse::<jiff::Timestamp>().ok()));
        }
        told.len() == labels.len() && told.windows(2).all(|pair| pair[0] < pair[1])
    }

    pub fn starts_within(&mut self, label: &str, within: Duration) -> Result<(), Finding> {
        let since = self.jobs.iter().filter_map(|job| job.cancelled).max();
        let since = since.ok_or_else(|| Finding::error("a disconnect", "nobody disconnected"))?;
        let expected = format!("{label:?} starts within {within:.0?} of the disconnect: compute stops with its client");
        let started = self.job(label)?.wait_for_event("started", within + Duration::from_secs(1));
        started.map_err(|finding| Finding { expected: expected.clone(), ..finding })?;
        let took = self.started_at(label)?.saturating_duration_since(since);
        if took <= within { Ok(()) } else { Err(Finding::fail(expected, format!("it started after {took:.1?}"))) }
    }

    /// One `error` CANCELLED and no `started`; or 499, from a worker that holds its answer back until the start.
    pub fn was_cancelled_before_start(&mut self, label: &str) -> Result<(), Finding> {
        let job = self.job(label)?;
        if let Some(answer) = job.refused(Duration::from_secs(10)) {
            let finding = || Finding::fail("one error CANCELLED, or status 499", format!("status {}", answer.status));
            return if answer.status == 499 { Ok(()) } else { Err(answer.evidence(finding())) };
        }
        let transcript = job.transcript(Duration::from_secs(10))?;
        let names: Vec<&str> = transcript.frames.iter().map(|frame| frame.name()).collect();
        if names == ["error"] && transcript.error_code().as_deref() == Some("CANCELLED") {
            return Ok(());
        }
        let expected = "a waiting job that is cancelled: one error event CANCELLED, and no started";
        Err(transcript.evidence(Finding::fail(expected, transcript.summary())))
    }

    /// The contract asks for 10 ms. A busy machine may miss that; what waits for each token shows all the same: it is slower
    /// than 10 ms, than a token's half, and than four times what it takes once the job is cancelled.
    pub fn health_answers_while(&mut self, times: usize, label: &str) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        let busy = median_health(&worker, times)?;
        self.goes_on(label)?;
        let gap = self.job(label)?.median_gap();
        self.cancel(label)?;
        // Whether a cancel ends the job is another case's matter.
        let _ = self.wait_for_end(&[label.to_owned()]);
        let idle = median_health(&worker, times)?;
        if busy > Duration::from_millis(10) && busy > gap / 2 && busy > 4 * idle {
            let found = format!("{busy:.1?} in the middle while a token took {gap:.1?}, and {idle:.1?} without a job");
            return Err(Finding::fail("health answers at once, whatever is computed", found));
        }
        Ok(())
    }

    pub(super) fn transcript(&mut self, label: &str) -> Result<&Transcript, Finding> {
        self.job(label)?.transcript(2 * PATIENCE)
    }

    pub fn obeys(&mut self, label: &str, rule: Option<&str>) -> Result<(), Finding> {
        if self.has_chain() {
            return self.obeys_task_rules(label, rule);
        }
        let transcript = self.transcript(label)?;
        match rule {
            Some(rule) => transcript.judge(rule),
            None => transcript.judge_all(),
        }
    }

    pub fn ended_with(&mut self, label: &str, event: &str) -> Result<(), Finding> {
        let transcript = self.transcript(label)?;
        match transcript.terminal() {
            Some(frame) if frame.is(event) => Ok(()),
            _ => {
                Err(transcript
                    .evidence(Finding::fail(format!("a stream that ends with {event}"), transcript.summary())))
            }
        }
    }

    pub fn ends_with_error(&mut self, label: &str, code: &str, within: Duration) -> Result<(), Finding> {
        let cancelled = self.job(label)?.cancel_asked.unwrap_or_else(Instant::now);
        let expected = format!("error {code} within {within:.0?} of the cancel");
        let frame = self.job(label)?.wait_for_event("error", within);
        frame.map_err(|finding| Finding { expected: expected.clone(), ..finding })?;
        let took = self.ended_at(label)?.saturating_duration_since(cancelled);
        let transcript = self.transcript(label)?;
        let right = transcript.error_code().as_deref() == Some(code) && took <= within;
        let finding = || Finding::fail(expected, format!("{} after {took:.1?}", transcript.summary()));
        if right { Ok(()) } else { Err(transcript.evidence(finding())) }
    }

    pub fn tokens_stopped_with_cancel(&mut self, label: &str) -> Result<(), Finding> {
        let job = self.job(label)?;
        let cancelled = job.cancelled.ok_or_else(|| Finding::error("a job that was cancelled", "it was not"))?;
        let sent = job.stream_began();
        let transcript = job.transcript(2 * PATIENCE)?;
        let late = transcript.tokens().filter(|frame| sent + frame.at > cancelled + ON_ITS_WAY).count();
        if late == 0 {
            return Ok(());
        }
        let found = format!("{late} tokens arrived more than {ON_ITS_WAY:.0?} after /cancel was answered");
        Err(transcript.evidence(Finding::fail("no token after the cancel", found)))
    }

    pub fn silent_until_end_of(&mut self, waiting: &str, running: &str) -> Result<(), Finding> {
        let ended = self.ended_at(running)?;
        let began = self.job(waiting)?.stream_began();
        let transcript = self.transcript(waiting)?;
        let early = transcript.frames.iter().find(|frame| began + frame.at + Duration::from_millis(50) < ended);
        match early {
            None => Ok(()),
            Some(frame) => {
                let found = format!("the event {:?} came before", frame.name());
                Err(transcript.evidence(Finding::fail(format!("{waiting:?} is silent until {running:?} ends"), found)))
            }
        }
    }

    pub fn seeds_differ(&mut self) -> Result<(), Finding> {
        let mut seeds: Vec<Value> = Vec::new();
        for job in &mut self.jobs {
            let transcript = job.transcript(PATIENCE)?;
            let seed = transcript.need("started", "seed")?;
            if seeds.contains(&seed) {
                let finding = Finding::fail("a seed drawn anew for each job that has none", format!("{seed} twice"));
                return Err(transcript.evidence(finding));
            }
            seeds.push(seed);
        }
        Ok(())
    }

    pub fn frames_are(&mut self, label: &str, expected: &[(String, String)]) -> Result<(), Finding> {
        let transcript = self.transcript(label)?;
        let shown = |event: &str, data: &str| format!("{event} {data}");
        let wanted: Vec<String> = expected.iter().map(|(event, data)| shown(event, data)).collect();
        let alike = transcript.frames.len() == expected.len()
            && transcript.frames.iter().zip(expected).all(|(frame, (event, data))| {
                let wanted = serde_json::from_str::<Value>(data).unwrap_or_default();
                frame.is(event) && frame.json().is_ok_and(|found| carries(&found, &wanted))
            });
        if alike {
            return Ok(());
        }
        Err(transcript.evidence(Finding::fail(wanted.join("\n"), transcript.summary())))
    }

    pub fn text_is(&mut self, label: &str, text: &str) -> Result<(), Finding> {
        let transcript = self.transcript(label)?;
        let found = transcript.text();
        let finding = || Finding::fail(format!("the text {text:?}"), format!("{found:?}"));
        if found == text { Ok(()) } else { Err(transcript.evidence(finding())) }
    }

    /// The kinds of events that a label's stream carried, metrics aside.
    pub(super) fn kinds(&mut self, label: &str) -> Result<Vec<String>, Finding> {
        let frames = &self.transcript(label)?.frames;
        Ok(frames.iter().filter(|frame| !frame.is("metrics")).map(|frame| frame.name().to_owned()).collect())
    }
}

/// Every field that is wanted is there and equal; others may be there too.
fn carries(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, value)| found.get(name) == Some(value))
        }
        _ => found == wanted,
    }
}

/// What an answer of `/health` takes, in the middle of this many; more than a second is blocked, on any machine.
fn median_health(worker: &Worker, times: usize) -> Result<Duration, Finding> {
    let mut took = Vec::new();
    for number in 1..=times {
        let began = Instant::now();
        worker.health()?;
        took.push(began.elapsed());
        if began.elapsed() > Duration::from_secs(1) {
            let found = format!("the answer number {number} took {:.1?}", began.elapsed());
            return Err(Finding::fail("health answers at once, whatever is computed", found));
        }
    }
    took.sort();
    Ok(took.get(times / 2).copied().unwrap_or_default())
}
