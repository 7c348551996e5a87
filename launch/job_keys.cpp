// SPDX-License-Identifier: Apache-2.0
#include "launch/job_keys.h"

#include "launch/key_builders.h"

namespace talaria::launch {

namespace {

constexpr double kMostSeconds = 1e7;

void add_job(std::vector<JobKey>& keys) {
  keys.push_back(text("job.name", FIELD(job.name), "names the run and its folder", "required",
                      "1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first"));
  keys.push_back(choice("job.kind", {"pretrain", "sft", "reward", "ppo"}, FIELD(job.kind),
                        "what the job does"));
  keys.push_back(integer("job.seed", {.low = 0}, FIELD(job.seed),
                         "initial weights, data order and dropout follow from it"));
  keys.push_back(choice("job.numerics", {"fast", "invariant"}, FIELD(job.numerics.invariant),
                        "invariant: the same bits for every layout", "\"fast\""));
  keys.push_back(
      integer("job.virtual_shards", {1, 1 << 10}, FIELD(job.numerics.virtual_shards),
              "V, the parts that every sum over the model's width is split into",
              "the largest allowed one up to 8, at least parallel.tensor",
              "with invariant numerics; a power of two that divides model.heads, hidden, "
              "ffn and train.sequence_length"));
  keys.push_back(integer("job.sample_groups", {1, 1 << 20}, FIELD(job.numerics.sample_groups),
                         "U, the groups that gradients of a batch are summed in",
                         "the largest allowed one up to 8, at least parallel.data",
                         "with invariant numerics; a power of two that divides "
                         "train.global_batch / micro_batch"));
}

void add_cluster(std::vector<JobKey>& keys) {
  keys.push_back(choice("cluster.launcher", {"local", "mpirun", "slurm"}, FIELD(cluster.launcher),
                        "who starts the ranks"));
  keys.push_back(integer("cluster.ranks", {1, kMostRanks}, FIELD(cluster.ranks),
                         "processes of the job", "the world size",
                         "parallel.tensor x pipeline x data"));
  keys.push_back(integer("cluster.threads_per_rank", {1, 1 << 10}, FIELD(cluster.threads_per_rank),
                         "threads that compute in a rank"));
  keys.push_back(
      choice("cluster.device", {"cpu"}, FIELD(cluster.device), "what computes", "", {"cuda"}));
  keys.push_back(integer("cluster.max_restarts", {0, kMostInt}, FIELD(cluster.max_restarts),
                         "new attempts after a failure, counted since the last new checkpoint"));
  keys.push_back(strings("cluster.hosts", FIELD(cluster.hosts),
                         "the nodes, as \"name:slots\"; without slots the ranks are shared out "
                         "evenly; none: this machine",
                         "with launcher = \"mpirun\"; names or IPv4 addresses, each once"));
  keys.push_back(text("cluster.launch_agent", FIELD(cluster.launch_agent),
                      "the command that reaches the nodes of hosts", "",
                      "a path or command, with options, of A-Z a-z 0-9 "
                      "_ . / @ % + = : , - and single spaces"));
  keys.push_back(real("cluster.memory_gib", {0.0, 1e6}, FIELD(cluster.memory_gib),
                      "memory for all ranks of a node, in GiB; 0: no limit"));
}

void add_parallel(std::vector<JobKey>& keys) {
  keys.push_back(
      integer("parallel.tensor", {1, kMostRanks}, FIELD(parallel.layout.tensor),
              "ranks that share every layer (tp)", "",
              "divides model.heads, ffn and train.sequence_length, and job.virtual_shards "
              "with invariant numerics"));
  keys.push_back(integer("parallel.pipeline", {1, kMostRanks}, FIELD(parallel.layout.pipeline),
                         "stages that the layers are cut into (pp)", "",
                         "at most model.layers + 1"));
  keys.push_back(integer("parallel.data", {1, kMostRanks}, FIELD(parallel.layout.data),
                         "replicas that share the batch (dp)", "",
                         "divides train.global_batch / micro_batch, and job.sample_groups with "
                         "invariant numerics"));
  keys.push_back(choice("parallel.schedule", {"gpipe", "1f1b"}, FIELD(parallel.schedule),
                        "order of forwards and backwards in the pipeline", "", {"interleaved"}));
  keys.push_back(integer("parallel.virtual_stages", {1, 1}, nullptr,
                         "stages a rank holds; more than 1 needs the interleaved schedule", "1"));
  keys.push_back(boolean("parallel.sequence", nullptr, "sequence parallelism", true));
  keys.push_back(boolean("parallel.zero", FIELD(parallel.zero),
                         "ZeRO-1: the optimizer's state is shared out over the replicas"));
}

void add_model(std::vector<JobKey>& keys) {
  std::vector<std::string> names;
  for (const Preset& preset : model_presets()) names.push_back(preset.name);
  const IntRange positive{.low = 1};
  keys.push_back(choice("model.preset", names, nullptr,
                        "a named shape; the keys below override its parts", "\"gpt2-124m\""));
  keys.push_back(choice("model.family", {"gpt2"}, nullptr, "the architecture", "\"gpt2\""));
  keys.push_back(
      integer("model.layers", positive, FIELD(model.layers), "blocks (L)", "of the preset"));
  keys.push_back(
      integer("model.hidden", positive, FIELD(model.hidden), "channels (C)", "of the preset"));
  keys.push_back(integer("model.heads", positive, FIELD(model.heads), "attention heads (NH)",
                         "of the preset", "divides model.hidden"));
  keys.push_back(integer("model.kv_heads", positive, nullptr, "heads of keys and values",
                         "model.heads", "equals model.heads in family gpt2"));
  keys.push_back(
      integer("model.ffn", positive, FIELD(model.ffn), "width of the MLP", "4 x model.hidden"));
  keys.push_back(integer("model.context", positive, FIELD(model.context),
                         "longest sequence, rows of the position table", "of the preset"));
  keys.push_back(integer("model.vocab", positive, FIELD(model.vocab),
                         "token ids (V), as many as the tokenizer has", "of the preset"));
}

void add_data(std::vector<JobKey>& keys) {
  keys.push_back({.name = "data.sources",
                  .type = KeyType::kSources,
                  .meaning =
                      "token files made by `talaria-worker data prepare`, and how often each "
                      "is drawn from; weights need not add up to 1",
                  .default_text = "required for pretraining",
                  .rule = "one or more of { path = \"...\", weight = above 0, default 1 }"});
  keys.push_back(text("data.tokenizer", FIELD(data.tokenizer),
                      "folder made by `talaria-worker data prepare`; needed to generate text"));
  keys.push_back(real("data.validation", {0.0, 1.0, false, true}, FIELD(data.validation),
                      "share of the documents or lines, by hash, kept from training"));
  add_chat_data(keys);
}

void add_train(std::vector<JobKey>& keys) {
  const char* const one = "exactly one of train.steps and train.tokens";
  keys.push_back(integer("train.steps", {1, kMostSteps}, FIELD(train.steps), "optimizer steps",
                         "from train.tokens", one));
  keys.push_back(integer("train.tokens", {.low = 1}, FIELD(train.tokens),
                         "tokens to train on, rounded up to whole steps", "from train.steps", one));
  keys.push_back(integer("train.global_batch", {1, kMostInt}, FIELD(train.global_batch),
                         "samples a step", "", "a multiple of parallel.data x train.micro_batch"));
  keys.push_back(integer("train.micro_batch", {1, kMostInt}, FIELD(train.micro_batch),
                         "samples that go through the pipeline together"));
  keys.push_back(integer("train.sequence_length", {1, kMostInt}, FIELD(train.sequence_length),
                         "tokens of a sample (T)", "model.context",
                         "at most model.context; packed rows may be longer"));
  keys.push_back(choice("train.precision", {"f32"}, nullptr, "type of weights and activations",
                        "\"f32\"", {"bf16", "f16"}));
  keys.push_back(
      boolean("train.recompute", nullptr, "forget activations and compute them again", true));
  keys.push_back(real("train.dropout", {0.0, 1.0, false, true}, FIELD(train.dropout),
                      "probability that an activation is dropped"));
  keys.push_back(integer("train.eval_every", {.low = 0}, FIELD(train.eval_every),
                         "steps between validations; 0: only at the end"));
  keys.push_back(integer("train.eval_samples", {1, kMostInt}, FIELD(train.eval_samples),
                         "validation samples an evaluation reads, at most"));
}

void add_optimizer(std::vector<JobKey>& keys) {
  keys.push_back(real("optimizer.learning_rate", {0.0, 1e3, true, false},
                      FIELD(optimizer.learning_rate), "its peak"));
  keys.push_back(real("optimizer.min_learning_rate", {0.0, 1e3}, FIELD(optimizer.min_learning_rate),
                      "where the decay ends", "learning_rate / 10", "at most learning_rate"));
  keys.push_back(integer("optimizer.warmup_steps", {.low = 0}, FIELD(optimizer.warmup_steps),
                         "steps of linear rise", "", "less than decay_steps where that is given"));
  keys.push_back(choice("optimizer.decay", {"cosine", "linear", "constant"}, FIELD(optimizer.decay),
                        "how the learning rate falls"));
  keys.push_back(integer("optimizer.decay_steps", {.low = 1}, FIELD(optimizer.decay_steps),
                         "step at which the decay ends", "train.steps at the first start"));
  keys.push_back(real("optimizer.beta1", {0.0, 1.0, false, true}, FIELD(optimizer.beta1),
                      "AdamW, mean of the gradient"));
  keys.push_back(real("optimizer.beta2", {0.0, 1.0, false, true}, FIELD(optimizer.beta2),
                      "AdamW, mean of its square"));
  keys.push_back(real("optimizer.eps", {0.0, 1.0, true, false}, FIELD(optimizer.eps),
                      "AdamW, added to the root"));
  keys.push_back(real("optimizer.weight_decay", {0.0, 1e3}, FIELD(optimizer.weight_decay),
                      "AdamW, decoupled"));
  keys.push_back(real("optimizer.clip", {0.0, 1e9}, FIELD(optimizer.clip),
                      "longest global gradient norm; 0: no clipping"));
}

void add_checkpoint(std::vector<JobKey>& keys) {
  keys.push_back(integer("checkpoint.every", {.low = 0}, FIELD(checkpoint.every),
                         "steps between checkpoints; 0: only at the end"));
  keys.push_back(integer("checkpoint.keep", {1, kMostInt}, FIELD(checkpoint.keep),
                         "newest checkpoints that are kept"));
  keys.push_back(choice("checkpoint.select", {"last", "best"}, FIELD(checkpoint.select),
                        "the one that the run hands on: the last, or the best by validation"));
}

void add_monitor(std::vector<JobKey>& keys) {
  const RealRange duration{0.0, kMostSeconds};
  const RealRange positive{0.0, kMostSeconds, true, false};
  const char* const deadline = "0, or at least two beats";
  keys.push_back(real("monitor.beat_seconds", {0.0, 60.0}, FIELD(monitor.beat_seconds),
                      "between two reports of a rank; 0: 1, and 5 above 64 ranks", "",
                      "0, or at least 0.05"));
  keys.push_back(real("monitor.start_seconds", duration, FIELD(monitor.start_seconds),
                      "deadline of a rank that starts; 0: learned from the run", "", deadline));
  keys.push_back(real("monitor.setup_seconds", duration, FIELD(monitor.setup_seconds),
                      "of reading the job file and opening the data", "", deadline));
  keys.push_back(real("monitor.restore_seconds", duration, FIELD(monitor.restore_seconds),
                      "of reading a checkpoint", "", deadline));
  keys.push_back(real("monitor.rollout_seconds", duration, FIELD(monitor.rollout_seconds),
                      "of sampling an iteration's responses (PPO)", "", deadline));
  keys.push_back(real("monitor.score_seconds", duration, FIELD(monitor.score_seconds),
                      "of judging them: reference, reward model, values (PPO)", "", deadline));
  keys.push_back(real("monitor.step_seconds", duration, FIELD(monitor.step_seconds),
                      "of a step; of an iteration's updates (PPO)", "", deadline));
  keys.push_back(real("monitor.evaluate_seconds", duration, FIELD(monitor.evaluate_seconds),
                      "of a validation", "", deadline));
  keys.push_back(real("monitor.save_seconds", duration, FIELD(monitor.save_seconds),
                      "of writing a checkpoint", "", deadline));
  keys.push_back(real("monitor.finish_seconds", duration, FIELD(monitor.finish_seconds),
                      "of the end of a rank", "", deadline));
  keys.push_back(real("monitor.stopped_seconds", positive, FIELD(monitor.stopped_seconds),
                      "how long mpirun may stay stopped (SIGSTOP) before the attempt is ended"));
  keys.push_back(real("monitor.stop_grace_seconds", positive, FIELD(monitor.stop_grace_seconds),
                      "from a request to stop with a checkpoint to the kill"));
}

std::vector<JobKey> make_keys() {
  std::vector<JobKey> keys;
  add_job(keys);
  add_cluster(keys);
  add_parallel(keys);
  add_model(keys);
  add_data(keys);
  add_train(keys);
  add_optimizer(keys);
  add_checkpoint(keys);
  add_start(keys);
  add_recipes(keys);
  add_monitor(keys);
  return keys;
}

}  // namespace

const std::vector<JobKey>& job_keys() {
  static const std::vector<JobKey> keys = make_keys();
  return keys;
}

const std::vector<Preset>& model_presets() {
  // GPT-2: Radford et al. 2019. GPT-3: Brown et al. 2020, table 2.1; the heads of 1.3B (16 for 24)
  // and the width of 13B (5120 for 5140) are those that head size 128 gives, and every layer
  // attends densely where the paper alternates with banded ones.
  static const std::vector<Preset> presets = {
      {"gpt2-124m", 12, 768, 12, 1024},  {"gpt2-355m", 24, 1024, 16, 1024},
      {"gpt2-774m", 36, 1280, 20, 1024}, {"gpt2-1558m", 48, 1600, 25, 1024},
      {"gpt3-125m", 12, 768, 12, 2048},  {"gpt3-350m", 24, 1024, 16, 2048},
      {"gpt3-760m", 24, 1536, 16, 2048}, {"gpt3-1.3b", 24, 2048, 16, 2048},
      {"gpt3-2.7b", 32, 2560, 32, 2048}, {"gpt3-6.7b", 32, 4096, 32, 2048},
      {"gpt3-13b", 40, 5120, 40, 2048},  {"gpt3-175b", 96, 12288, 96, 2048},
  };
  return presets;
}

}  // namespace talaria::launch
