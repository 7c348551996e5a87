// SPDX-License-Identifier: Apache-2.0
// A job file with every key of pretraining, and what the tests of job files do with it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/base/config.h"
#include "cluster/base/error.h"
#include "launch/job.h"

namespace talaria::launch {

// One line a key, so that a case can replace any of them. Line numbers stand at the right.
inline constexpr const char* kGood = R"([job]
name = "good"                         # 2
kind = "pretrain"                     # 3
seed = 7                              # 4
numerics = "invariant"                # 5
virtual_shards = 4                    # 6
sample_groups = 2                     # 7
[cluster]
launcher = "mpirun"                   # 9
ranks = 8                             # 10
threads_per_rank = 2                  # 11
device = "cpu"                        # 12
max_restarts = 0                      # 13
hosts = ["node1:6", "10.0.0.2:6"]     # 14
launch_agent = "ssh -x"               # 15
memory_gib = 2.5                      # 16
[parallel]
tensor = 2                            # 18
pipeline = 2                          # 19
data = 2                              # 20
schedule = "gpipe"                    # 21
virtual_stages = 1                    # 22
sequence = false                      # 23
zero = false                          # 24
[model]
family = "gpt2"                       # 26
layers = 4                            # 27
hidden = 256                          # 28
heads = 8                             # 29
kv_heads = 8                          # 30
ffn = 512                             # 31
context = 256                         # 32
vocab = 2048                          # 33
[data]
sources = [{ path = "a.tok", weight = 2 }, { path = "b.tok" }]  # 35
tokenizer = "tok"                     # 36
validation = 0.05                     # 37
[train]
steps = 100                           # 39
global_batch = 24                     # 40
micro_batch = 3                       # 41
sequence_length = 128                 # 42
precision = "f32"                     # 43
recompute = false                     # 44
dropout = 0.1                         # 45
eval_every = 10                       # 46
eval_samples = 5                      # 47
[optimizer]
learning_rate = 2e-3                  # 49
min_learning_rate = 1e-4              # 50
warmup_steps = 10                     # 51
decay = "linear"                      # 52
decay_steps = 90                      # 53
beta1 = 0.8                           # 54
beta2 = 0.99                          # 55
eps = 1e-6                            # 56
weight_decay = 0                      # 57
clip = 0.5                            # 58
[checkpoint]
every = 20                            # 60
keep = 2                              # 61
select = "best"                       # 62
[start]
weights = "runs/base"                 # 64
[monitor]
beat_seconds = 0.5                    # 66
start_seconds = 60                    # 67
setup_seconds = 61                    # 68
restore_seconds = 62                  # 69
step_seconds = 63                     # 70
evaluate_seconds = 64                 # 71
save_seconds = 65                     # 72
finish_seconds = 66                   # 73
stopped_seconds = 7                   # 74
stop_grace_seconds = 8                # 75
rollout_seconds = 67                  # 76
score_seconds = 68                    # 77
)";

inline std::string edited(const std::string& line, const std::string& replacement) {
  std::string text = kGood;
  const std::size_t at = text.find("\n" + line);
  EXPECT_NE(at, std::string::npos) << line;
  const std::size_t end = text.find('\n', at + 1);
  return text.replace(at + 1, end - at - 1, replacement);
}

inline Job parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_job(ConfigFile::parse(text, "j.toml", overrides));
}

inline std::string complaint(const std::function<void()>& body) {
  try {
    body();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "(nothing was refused)";
}

inline constexpr const char* kLeast =
    "[job]\nname = 'x'\n[data]\nsources = [{path = 'a.tok'}]\n[train]\n";

}  // namespace talaria::launch
