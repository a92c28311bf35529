//! The guides that the commands carry in their own long help.

pub const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  refused or failed; the reason is on stderr
    2  the command line is wrong
  124  with --host: not finished in time
  127  with --host: the tool is not there
  130  interrupted
  255  with --host: the machine was not reached
  With --host, every other code is the one from there.";

pub const TROUBLESHOOTING: &str = "\
From nothing to a worker and back:
  llorch-pool models register tiny --name Tiny --repo OWNER/NAME --architecture gpt2
  llorch-pool models download tiny
  llorch-pool worker spawn cpu --model tiny
  llorch infer --worker 127.0.0.1:8000 --prompt 'Once upon a time'
  llorch-pool worker stop worker-cpu-0
On another machine: the same commands with --host H.

Files, in the pool's folder (the current one, or -C DIR):
  .test-models/catalog.json         the models; replaced whole, under catalog.lock
  .test-models/<id>/                a model's files
  .runtime/downloads/<id>.log       what `hf` said last
  .runtime/workers/<id>.json, .log  a worker and what it prints; .log.old is the one before

Troubleshooting:
  \"the catalog … is damaged\"      It was cut or edited. It is never overwritten: mend it, or move it away.
  \"`hf` is not installed\"         pip install -U huggingface_hub, and see that `hf` is on the PATH.
  \"`hf` failed 3 times\"           Read the log that is named. 401 or 403: the model is gated, `hf auth login`. A network
                                  that cuts: run the same command again, it resumes. Behind a mirror: set HF_ENDPOINT.
  \"files are not what they should be\"  They were removed; download again.
  \"has more than one model\"       Keep one, or register it with --format gguf --file NAME.
  \"runs already\", \"is taken by\"   Somebody has the place: `worker list`, `worker stop ID`, or another --gpu or --port.
  \"ended at its start\"            The error shows the end of its log: a model it does not read, too little memory, a port.
  a worker is \"dead\"              It was killed or crashed: .log.old or `worker logs ID` says more. Spawn it again.
  a worker is an \"orphan\"         It runs, and its file is gone. `worker stop ID` ends it.
  --host: exit code 255           ssh itself failed. Does `ssh -o BatchMode=yes H true` work? Keys, not passwords.
  --host: exit code 127           llorch-pool is not on the PATH of a login without terminal: --remote-program PATH.

Exit codes:
    0  done
    1  refused or failed; the reason is on stderr
    2  the command line is wrong
  124, 127, 255  with --host: not finished in time; the tool is not there; the machine was not reached
  130  interrupted";

pub const DOWNLOADING: &str = "\
How a download goes:
  1. `hf download REPO --include … --local-dir .test-models/<id>` is run, up to three times, 1 s and 2 s apart.
     safetensors: *.safetensors, *.json, tokenizer.model and merges.txt. gguf: *.gguf, or the one that --file named.
  2. Every file is read: its size and SHA-256 must be what the hub said. A file that is wrong is removed.
  3. Only then the catalog says \"downloaded\", with the size and the digests, for `models verify` later.

What is cut off is kept and resumed by the same command. --force looks at every file again and brings what differs.
Nothing is shown in a pipe; on a terminal a bar counts what has come.

`hf` comes with: pip install -U huggingface_hub. It reads HF_TOKEN (gated models), HF_ENDPOINT (a mirror) and HF_HOME.";

pub const SPAWNING: &str = "\
How a worker is started:
  1. The model must be in the catalog, downloaded, fit for the backend, and exactly one: a single file, or an index and
     all its shards.
  2. The worker is called worker-<backend>-<gpu> and listens on 127.0.0.1, port 8000 + gpu. One worker to a place.
  3. gpt2 on cpu is llorch-cpud's; everything else is llorch-candled's. Either is looked for beside this program, then on
     the PATH; LLORCH_CPUD_BIN and LLORCH_CANDLED_BIN name another.
  4. It runs in a session of its own: closing this terminal does not end it.
  5. By default the command waits until /health says \"healthy\". A worker that ends before is an error with its last words.

Two on one machine:
  llorch-pool worker spawn cpu --model tiny
  llorch-pool worker spawn cpu --model tiny --gpu 1
More threads, another drain: after --, flags go to the worker as they are.
  llorch-pool worker spawn cpu --model tiny -- --threads 4 --drain-sec 5
Then: `worker list`, `worker logs worker-cpu-0 -f`, `worker stop worker-cpu-0`.";
