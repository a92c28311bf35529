//! The mistakes that a worker's author could make on the wire: one table, each row one behaviour changed.
//!
//! A row has its variant, the name for `--mistake`, and a sentence for a stranger; which case catches it is said in
//! `features/selftest/mistakes.feature`. Where a mistake takes effect the code asks `script.plays(Slip::…)`; with no mistake chosen every such question says no.

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Mistake {
    pub slip: Slip,
    /// What `--mistake` takes, in kebab case.
    pub name: &'static str,
    pub area: Area,
    /// What the worker does wrong, in one sentence.
    pub description: &'static str,
}

impl Mistake {
    pub fn named(name: &str) -> Option<&'static Mistake> {
        MISTAKES.iter().find(|mistake| mistake.name == name)
    }
}

macro_rules! mistakes {
    ($($area:ident { $($slip:ident $name:literal $description:literal)* })*) => {
        /// The part of the contract that a mistake breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Area { $($area,)* }

        /// The one behaviour that differs from an honest worker's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Slip { $($(#[doc = $description] $slip,)*)* }

        pub const MISTAKES: &[Mistake] = &[$($(Mistake {
            slip: Slip::$slip,
            name: $name,
            area: Area::$area,
            description: $description,
        },)*)*];
    };
}

mistakes! {
    Stream {
        DataWithoutEvent "data-without-event" "Frames have a data line and no event line."
        TypeTagOnly "type-tag-only" "The event's name is only inside the JSON, as a `type` member."
        TwoTerminalEvents "two-terminal-events" "A finished job ends with two `end` events."
        TokenAfterEnd "token-after-end" "One more token follows the `end` event."
        MetricsAfterEnd "metrics-after-end" "A `metrics` event follows the `end` event."
        DoneMarker "done-marker" "A frame `data: [DONE]` follows the `end` event."
        EndMissing "end-missing" "The stream closes without any terminal event."
        NeverEnds "never-ends" "After the last token the stream stays open for ever and `end` never comes."
        ErrorThenContinues "error-then-continues" "An `error` event is sent in the middle and the tokens go on after it."
        EndAfterError "end-after-error" "A cancelled job's `error` event is followed by an `end`."
        ErrorWithoutRetriable "error-without-retriable" "The `error` event lacks `retriable`."
        UnknownErrorCode "unknown-error-code" "The `error` event's code is `cancelled_by_user`, which the contract does not know."
        StartedMissing "started-missing" "The stream begins with a token."
        StartedTwice "started-twice" "The `started` event is sent twice."
        StartedWithoutModel "started-without-model" "The `started` event lacks `model`."
        StartedAtLocal "started-at-local" "`started_at` is a local time with a +02:00 offset."
        JobIdNotEchoed "job-id-not-echoed" "`started` carries a job id of the worker's own making."
        IndexFromOne "index-from-one" "Token events are counted from 1."
        IndexGap "index-gap" "The index of the token events skips 2."
        IndexStandsStill "index-stands-still" "Every token event has the index 0."
        IndexCountsTokens "index-counts-tokens" "The index counts sampled tokens, so it jumps where a character spans two of them."
        TokenNull "token-null" "Where a token completes no character, an event with `t` null is sent."
        TokenEmpty "token-empty" "Every third token event has an empty `t` and its text is lost."
        ReplacementCharacters "replacement-characters" "A character that spans two tokens is sent as U+FFFD twice."
        InvalidUtf8 "invalid-utf8" "A token's text contains the byte FF."
        BlanksStripped "blanks-stripped" "The blanks around each token are stripped, so the joined text has no gaps."
        ExtraBlanks "extra-blanks" "A blank is added after each token, so the joined text has double gaps."
        CumulativeText "cumulative-text" "Each token event repeats the whole text so far."
        DataNestedAsString "data-nested-as-string" "The data line is a JSON string that contains JSON."
        DataOnManyLines "data-on-many-lines" "The JSON is pretty-printed over many data lines."
        EndWithoutSeed "end-without-seed" "The `end` event lacks `seed`."
        SeedDiffers "seed-differs" "The seed in `end` is not the one in `started`."
        StopReasonMissing "stop-reason-missing" "The `end` event lacks `stop_reason`."
        StopReasonLowerCase "stop-reason-lower-case" "`stop_reason` is spelled `max_tokens` or `eos`."
        StopMatchedMissing "stop-matched-missing" "`end` leaves `stop_sequence_matched` out instead of saying null."
        DecodeTimeMissing "decode-time-missing" "The `end` event lacks `decode_time_ms`."
        TokensOutWrong "tokens-out-wrong" "`tokens_out` in `end` is one too high."
        TokensOutAsText "tokens-out-as-text" "`tokens_out` in `end` is a string."
        OneBurst "one-burst" "All frames are sent together after the last token is computed."
        WrongContentType "wrong-content-type" "The stream is labelled text/plain."
        Gzip "gzip" "The stream is compressed although nobody asked for it."
        NoFinalBlankLine "no-final-blank-line" "The last frame is not ended by a blank line."
        ResetMidEvent "reset-mid-event" "The connection is reset in the middle of a token event."
        UnfinishedChunking "unfinished-chunking" "The connection closes after `end` without the last chunk of the chunked encoding."
    }
    Health {
        HealthBlocks "health-blocks" "/health answers only when no job is running."
        HealthFieldMissing "health-field-missing" "/health lacks `context_length`."
        HealthWrongType "health-wrong-type" "/health says `memory_bytes` as a string."
        HealthOtherStatus "health-other-status" "/health says `ok` instead of `healthy`."
        HealthAsText "health-as-text" "/health is labelled text/plain."
        HealthFailsUntilJob "health-fails-until-job" "/health answers 500 until the first job has run."
        HealthOtherWorker "health-other-worker" "/health names a worker id that the worker was not started with."
        HealthNoMemory "health-no-memory" "/health says that the loaded model takes 0 bytes."
        HealthFrozenClock "health-frozen-clock" "`uptime_seconds` in /health is always 0."
        HealthLocked "health-locked" "/health asks for the bearer token."
    }
    Cancel {
        CancelIgnored "cancel-ignored" "Cancel is answered 202 and the job goes on."
        CancelUnknown404 "cancel-unknown-404" "Cancel of an unknown job id is answered 404."
        CancelNotIdempotent "cancel-not-idempotent" "The second cancel of the same job is answered 409."
        CancelAnswers200 "cancel-answers-200" "Cancel is answered 200 instead of 202."
        CancelWaits "cancel-waits" "The answer to a cancel comes only when the job would have been done."
        CancelAnyJob "cancel-any-job" "Cancel stops whatever runs, whichever job id is named."
        CancelRemembered "cancel-remembered" "Cancel of an unknown id is remembered and kills a later job with that id."
        CancelledWithEnd "cancelled-with-end" "A cancelled job ends with `end` instead of `error`."
        CancelledSilently "cancelled-silently" "A cancelled job's stream closes without a terminal event."
        TokenAfterCancelled "token-after-cancelled" "A token follows the `error` event of a cancelled job."
        LeftoverTokens "leftover-tokens" "The job after a cancelled one begins with that one's unsent tokens."
        DisconnectIgnored "disconnect-ignored" "When the client goes away the job computes on and blocks the queue."
        WaitingCancelIgnored "waiting-cancel-ignored" "Cancel of a waiting job is answered 202 and the job runs anyway."
        WaitingCancelStarts "waiting-cancel-starts" "A job cancelled while it waits still says `started` before its `error`."
    }
    Queue {
        BusyWithoutRetryAfter "busy-without-retry-after" "503 BUSY has no Retry-After."
        Busy429 "busy-429" "A full queue is answered 429."
        QueueUnbounded "queue-unbounded" "Any number of jobs may wait."
        QueueLastFirst "queue-last-first" "The job that came last runs next."
        StartedWhileWaiting "started-while-waiting" "A job that still waits is already `started`."
        TwoAtOnce "two-at-once" "Two jobs run at the same time."
        DuplicateAccepted "duplicate-accepted" "A second job with the id of an active one is accepted."
        DuplicateForEver "duplicate-for-ever" "A job id stays taken after its job has ended."
    }
    Sampling {
        SeedIgnored "seed-ignored" "The text does not depend on the seed and differs on each run."
        SeedWithoutEffect "seed-without-effect" "Every seed gives the same text."
        SeedThroughDouble "seed-through-double" "The seed passes through a double and loses its low digits."
        SeedAlwaysSame "seed-always-same" "A job without a seed always gets the seed 42."
        StateCarriedOver "state-carried-over" "The random generator goes on from the last job instead of being seeded anew."
        GreedyRandom "greedy-random" "Temperature 0 does not give the same text twice."
        GreedyUsesSeed "greedy-uses-seed" "At temperature 0 the seed changes the text."
        TemperatureIgnored "temperature-ignored" "Every job is greedy, whatever its temperature."
        TopKIgnored "top-k-ignored" "`top_k` is read and not applied."
        TopPIgnored "top-p-ignored" "`top_p` is read and not applied."
        MinPIgnored "min-p-ignored" "`min_p` is read and not applied."
        PenaltyIgnored "penalty-ignored" "`repetition_penalty` is read and not applied."
        PromptIgnored "prompt-ignored" "The text does not depend on the prompt."
        MaxTokensIgnored "max-tokens-ignored" "A job runs until the end of its text, whatever `max_tokens` says."
        MaxTokensOffByOne "max-tokens-off-by-one" "One token more than `max_tokens` is computed."
        DefaultMaxTokens "default-max-tokens" "A job without `max_tokens` stops after 16."
        EosNotCounted "eos-not-counted" "`tokens_out` leaves the end-of-text token out."
        StopIgnored "stop-ignored" "Stop sequences have no effect."
        StopEmitted "stop-emitted" "The matched stop sequence is part of the text."
        StopPerToken "stop-per-token" "A stop sequence is only found when it lies within one token."
        StopTailLost "stop-tail-lost" "Text held back because a stop sequence might begin there is lost at the end."
        StopLastWins "stop-last-wins" "Of two stop sequences that match together, the later in the request wins."
        StopSaidEos "stop-said-eos" "A matched stop sequence is reported as `EOS`."
    }
    Request {
        RangeUnchecked "range-unchecked" "Numbers outside their range are accepted."
        FirstErrorOnly "first-error-only" "Only the first failure of a bad request is listed."
        PromptEchoed "prompt-echoed" "The messages of a 400 repeat the prompt."
        BadRequestAsText "bad-request-as-text" "400 is text/plain."
        BadRequest422 "bad-request-422" "A bad request is answered 422."
        BadRequestOtherCode "bad-request-other-code" "The code of a 400 is `BAD_REQUEST`."
        BadRequestInStream "bad-request-in-stream" "A bad request is answered 200 and the failure comes as an `error` event."
        ErrorsWithoutConstraint "errors-without-constraint" "The listed failures lack `constraint`."
        UnknownFieldsRefused "unknown-fields-refused" "A request with a field that the worker does not know is refused."
        MalformedJson500 "malformed-json-500" "Malformed JSON is answered 500."
        TrailingGarbageAccepted "trailing-garbage-accepted" "What follows the JSON object in the body is not looked at."
        NumbersFromText "numbers-from-text" "A number given as a string is accepted."
        OverflowDrops "overflow-drops" "A number like 1e400 ends the connection without an answer."
        MissingJobIdAccepted "missing-job-id-accepted" "A request without `job_id` is accepted."
        JobIdUnchecked "job-id-unchecked" "Any string is accepted as `job_id`."
        JobIdInComment "job-id-in-comment" "The unchecked job id is written into a comment of the stream, line feeds included."
        PromptInBytes "prompt-in-bytes" "The prompt's length is counted in bytes, so long texts in other scripts are refused."
        LongPromptCut "long-prompt-cut" "A prompt that does not fit the context is cut without a word."
        StopLimitsUnchecked "stop-limits-unchecked" "Any number of stop sequences of any length is accepted."
        BodyLimitMissing "body-limit-missing" "A body over 1 MiB is read and accepted."
        ContentTypeUnchecked "content-type-unchecked" "The request's content type is not looked at."
        ContentType400 "content-type-400" "A wrong content type is answered 400 instead of 415."
    }
    Access {
        TokenUnchecked "token-unchecked" "The bearer token is never asked for."
        TokenPrefixAccepted "token-prefix-accepted" "Anything that begins with the token is accepted."
        CancelOpen "cancel-open" "/cancel works without the token."
        ShutdownOpen "shutdown-open" "/shutdown works without the token."
        Unauthorized403 "unauthorized-403" "A missing token is answered 403."
        UnauthorizedTells "unauthorized-tells" "The 401 for a wrong token differs from the one for a missing token."
        PublicBindAccepted "public-bind-accepted" "The worker starts on all interfaces without a token."
        CorrelationNotEchoed "correlation-not-echoed" "X-Correlation-Id is not in the response."
        CorrelationReplaced "correlation-replaced" "A valid X-Correlation-Id of the client is replaced by a fresh one."
        CorrelationUnchecked "correlation-unchecked" "X-Correlation-Id is echoed whatever it contains."
        CorrelationConstant "correlation-constant" "Requests without X-Correlation-Id all get the same one."
        CorrelationMissingOnErrors "correlation-missing-on-errors" "A refused request gets no X-Correlation-Id."
    }
    Metrics {
        CounterIdles "counter-idles" "The token counter rises with each scrape."
        ScrapesDiffer "scrapes-differ" "The memory gauge jitters from scrape to scrape on an idle worker."
        TokenCounterWrong "token-counter-wrong" "The token counter counts jobs instead of tokens."
        TokenCounterResets "token-counter-resets" "The token counter starts anew with each job."
        RequestsTotalMissing "requests-total-missing" "`worker_requests_total` is missing."
        CancelledAsSuccess "cancelled-as-success" "A cancelled job is counted as a success."
        MetricsAsJson "metrics-as-json" "/metrics is JSON."
    }
    Log {
        PromptInLog "prompt-in-log" "The prompt is in the log."
        TextInLog "text-in-log" "The generated text is in the log."
        LogNotJson "log-not-json" "Log lines are plain text."
        LogNested "log-nested" "The keys of a log line are nested under `fields`."
        StartupOutOfOrder "startup-out-of-order" "The log says that the worker is ready before it says that it loads the model."
        CorrelationNotLogged "correlation-not-logged" "The log does not carry the correlation id."
        TokenInLog "token-in-log" "The API token is in the log."
    }
    Callback {
        CallbackBeforeListening "callback-before-listening" "The ready callback is sent before the port is open."
        CallbackFieldsMissing "callback-fields-missing" "The callback lacks `protocol` and `capabilities`."
        CallbackOtherWorker "callback-other-worker" "The callback names a worker id that the worker was not started with."
        CallbackWildcardUri "callback-wildcard-uri" "The callback's `uri` is on 0.0.0.0."
        CallbackOtherPort "callback-other-port" "The callback's `uri` has the port that was asked for, 0, instead of the one in use."
        CallbackFailureIgnored "callback-failure-ignored" "The worker stays up although every callback was refused."
        CallbackOnce "callback-once" "There is only one attempt at the callback."
        CallbackEndless "callback-endless" "The callback is tried again without end."
        CallbackOnly200 "callback-only-200" "A 204 to the callback is taken for a refusal."
        CallbackWithoutBearer "callback-without-bearer" "The callback lacks the spawn token."
        CallbackByGet "callback-by-get" "The callback is a GET."
        CallbackTwice "callback-twice" "The callback is sent again after it was accepted."
        CallbackWithoutTimeout "callback-without-timeout" "The worker waits for ever for a pool manager that accepts and does not answer."
        TestModeCalls "test-mode-calls" "The callback is sent although the URL is that of the test mode."
        TestModeByPrefix "test-mode-by-prefix" "`localhost:99990` is taken for the test mode."
    }
    Process {
        ExitZeroOnFailedLoad "exit-zero-on-failed-load" "The exit code is 0 when the model cannot be loaded."
        FailedLoadSilent "failed-load-silent" "A model that cannot be loaded leaves no error line in the log."
        FailedLoadServes "failed-load-serves" "A model that cannot be loaded is replaced by a built-in one, in silence."
        BadFlagIgnored "bad-flag-ignored" "Unknown flags are ignored."
        SigtermIgnored "sigterm-ignored" "SIGTERM has no effect."
        SigintIgnored "sigint-ignored" "SIGINT has no effect."
        SigtermDropsJob "sigterm-drops-job" "SIGTERM ends the process in the middle of the running job."
        SigtermAcceptsJobs "sigterm-accepts-jobs" "After SIGTERM new jobs are still accepted while one runs."
        DrainRunsQueue "drain-runs-queue" "After SIGTERM the waiting jobs are run instead of cancelled."
        DrainWithoutDeadline "drain-without-deadline" "After SIGTERM a job may take longer than --drain-sec."
        SecondSignalIgnored "second-signal-ignored" "A second signal does not stop the process at once."
        ExitOneOnStop "exit-one-on-stop" "The exit code of a graceful stop is 1."
        ShutdownMissing "shutdown-missing" "/shutdown is answered 404."
        ShutdownLeavesRunning "shutdown-leaves-running" "/shutdown is answered 202 and the worker stays up."
        OneShot "one-shot" "The worker exits after its first job."
    }
}
