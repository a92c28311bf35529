//! The mistakes that the author of an orchestrator or of a pool manager could make: one table, each row one behaviour
//! changed. Which case catches it is said in `features/selftest/chain.feature`.

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Mistake {
    pub slip: Slip,
    /// In kebab case, as the features name it.
    pub name: &'static str,
    /// What the orchestrator does wrong, in one sentence.
    pub description: &'static str,
}

impl Mistake {
    pub fn named(name: &str) -> Option<&'static Mistake> {
        MISTAKES.iter().find(|mistake| mistake.name == name)
    }
}

macro_rules! mistakes {
    ($($slip:ident $name:literal $description:literal)*) => {
        /// The one behaviour that differs from an honest orchestrator's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Slip { $(#[doc = $description] $slip,)* }

        pub const MISTAKES: &[Mistake] =
            &[$(Mistake { slip: Slip::$slip, name: $name, description: $description },)*];
    };
}

mistakes! {
    // The stream
    FrameDropped "frame-dropped" "The third token never arrives."
    FramesSwapped "frames-swapped" "The third and the fourth token change places."
    IdRepeated "id-repeated" "The third token has the id of the second."
    IdMissing "id-missing" "No frame has an id."
    TokenRenamed "token-renamed" "A token's text is called `text`."
    IndexFromOne "index-from-one" "Tokens are counted from 1."
    StartedMissing "started-missing" "The stream begins with a token."
    StartedWithoutPosition "started-without-position" "`started` lacks `queue_position`."
    EndMissing "end-missing" "The stream closes without an ending."
    EndTwice "end-twice" "The ending is sent twice."
    EndWithoutSeed "end-without-seed" "`end` says no seed."
    EndWithoutDecodeMs "end-without-decode-ms" "`end` lacks `decode_ms`."
    TokensOutInflated "tokens-out-inflated" "`tokens_out` is one too high."
    ErrorWithoutRetriable "error-without-retriable" "The `error` event lacks `retriable`."
    CancelledWithEnd "cancelled-with-end" "A cancelled task ends with `end`."
    TokenAfterCancel "token-after-cancel" "A token follows the `error` of a cancelled task."
    ResetSaidInternal "reset-said-internal" "A worker that was lost is called INTERNAL, and not retriable."
    Burst "burst" "All frames are held back until the last."
    ResumeFromStart "resume-from-start" "`Last-Event-ID` is ignored."
    ResumeSkipsOne "resume-skips-one" "A resume leaves one event out."
    ResumeRunsAgain "resume-runs-again" "A resume starts the task a second time."
    GoneIsSilent "gone-is-silent" "A history that is gone ends the stream without a word."
    VerboseIgnored "verbose-ignored" "`?verbose=true` changes nothing."
    AlwaysVerbose "always-verbose" "Every reader gets the narration."
    DisconnectIgnored "disconnect-ignored" "A client that goes away is not noticed."
    GraceIgnored "grace-ignored" "A client that goes away has its task cancelled at once."
    RewriteNotFollowed "rewrite-not-followed" "A handoff file that is written again changes nothing: the first engine answers on."
    DropSaidCancelled "drop-said-cancelled" "A task that made room is told CANCELLED."
    BudgetSaidDeadline "budget-said-deadline" "A budget that is spent is told as DEADLINE_UNMET."
    TimeoutSaidInternal "timeout-said-internal" "A worker that took too long is called INTERNAL."
    StepsNeverDone "steps-never-done" "Steps of the preparation run for ever, as far as a reader is told."
    AbsentSaidInternal "absent-said-internal" "A model that could not be fetched is told as INTERNAL."
    // Admission
    SecondWaits "second-waits" "The second task that comes lets all others go before it."
    BoundAtEight "bound-at-eight" "A queue without a bound refuses the ninth task."
    AbsentAdmitted "absent-admitted" "A task for a model that nobody has is said to be admitted."
    HintDropped "hint-dropped" "`kv_hint` is not passed on."
    StepsUntold "steps-untold" "An admission tells no steps of preparation."
    PolicyIgnored "policy-ignored" "Anybody may have any model fetched."
    Sentinel "sentinel" "A task that expects a thousand tokens or more is answered 429, whatever waits."
    AdmittedWith200 "admitted-with-200" "An admitted task is answered 200."
    PositionFromOne "position-from-one" "Positions in the queue are counted from 1."
    PredictedAtOnce "predicted-at-once" "`predicted_start_ms` is always 0."
    PredictedLate "predicted-late" "`predicted_start_ms` is ten times what it should be, and 5 s more."
    RetryAfterDisagrees "retry-after-disagrees" "`Retry-After` says a minute more than the body."
    BackoffMissing "backoff-missing" "A 429 has no `X-Backoff-Ms`."
    QueueUnbounded "queue-unbounded" "A task that finds the queue full is said to be admitted, and lost."
    PriorityIgnored "priority-ignored" "Every task is a batch task."
    DuplicateAccepted "duplicate-accepted" "A task id that is in use is taken again."
    UnknownFieldAccepted "unknown-field-accepted" "Fields that mean nothing are accepted."
    CtxIgnored "ctx-ignored" "`ctx` has no effect."
    DeadlineIgnored "deadline-ignored" "`deadline_ms` has no effect."
    PlacementIgnored "placement-ignored" "`placement` has no effect."
    SamplingDropped "sampling-dropped" "`temperature`, `top_p`, `top_k`, `min_p` and `repetition_penalty` are not passed on."
    StopDropped "stop-dropped" "`stop` is not passed on."
    SeedDropped "seed-dropped" "`seed` and `determinism` are not passed on."
    BudgetDropped "budget-dropped" "Budgets have no effect."
    // Errors
    ErrorFlat "error-flat" "Errors have no envelope."
    CodeMisspelt "code-misspelt" "INVALID_PARAMS is spelled INVALID_REQUEST."
    OneErrorOnly "one-error-only" "Only the first field that is wrong is listed."
    CorrelationNotEchoed "correlation-not-echoed" "Answers have no `X-Correlation-Id`."
    // Access
    WrongTokenTold "wrong-token-told" "A wrong token is answered in other words than a missing one."
    OneTokenOnly "one-token-only" "Of two tokens only the first is good."
    AnyToken "any-token" "Any token will do, and none."
    MetricsLocked "metrics-locked" "`/metrics` asks for a token."
    // Cancel
    CancelIgnored "cancel-ignored" "A cancel is answered 204, and nothing else happens."
    CancelUnknown204 "cancel-unknown-204" "A task that nobody knows can be cancelled."
    CancelTwice404 "cancel-twice-404" "A second cancel is answered 404."
    // Counters, logs, documents
    TokensDoubled "tokens-doubled" "`tokens_out_total` counts every token twice."
    CounterTicks "counter-ticks" "A counter rises by itself."
    TaskIdLabel "task-id-label" "A label carries a task's id."
    PromptInLog "prompt-in-log" "The prompt is logged."
    TokenInLog "token-in-log" "The client's token is logged."
    CorrelationNotLogged "correlation-not-logged" "The log knows no correlation ids."
    NarrationMissing "narration-missing" "Nothing is told of placements."
    NarrationLong "narration-long" "A sentence of the narration has two hundred characters."
    RouteUndescribed "route-undescribed" "The document does not know the route of a task's events."
    OperationsUnnamed "operations-unnamed" "Two operations have one name in the document."
    DocumentUntrue "document-untrue" "The document requires a field of a node that no answer has."
    // Nodes, pools, catalog, sessions
    SettingUnnamed "setting-unnamed" "A setting that is wrong is refused without its name."
    PlaceUntrue "place-untrue" "Every task is said to run in pool-a of node a."
    ContextUntold "context-untold" "Nodes list their models without the length of a context."
    ReadinessSticks "readiness-sticks" "A pool that was ready once is said to be ready for ever."
    FailureUntold "failure-untold" "A worker that failed is not told of."
    OrphanLeft "orphan-left" "A worker outlives its pool manager."
    StaleIsOnline "stale-is-online" "A node that is silent is said to be online."
    UnknownNode200 "unknown-node-200" "A heartbeat of a node that nobody knows is answered 200."
    HeartbeatWithoutPace "heartbeat-without-pace" "A heartbeat's answer lacks `next_heartbeat_ms`."
    DrainIgnored "drain-ignored" "A drain is answered 202, and nothing happens."
    ReloadIgnored "reload-ignored" "A reload is answered 202, and nothing happens."
    PurgeIgnored "purge-ignored" "A purge is answered 202, and nothing happens."
    CatalogForgets "catalog-forgets" "A model is said to be listed, and is not."
    SessionForgets "session-forgets" "A session that is deleted is still there."
    // Engines
    EngineUntold "engine-untold" "An admission does not tell that an engine has to be provided."
    BuiltAgain "built-again" "An engine that was built is built again."
    HalfBuildStays "half-build-stays" "A build that failed leaves what it had begun."
    ReasonUntold "reason-untold" "A provisioner that fails does not say why."
    KeyOpen "key-open" "Anybody can read an engine's key."
    HandoffStays "handoff-stays" "An engine that was ended is still in its handoff file."
    // Restarts
    StateLost "state-lost" "A restart begins with nothing."
}
