// SPDX-License-Identifier: Apache-2.0
// Three tiny models that the tests of `talaria chat` and `talaria eval` use: one pretrained, one
// fine-tuned until it answers kTalk by heart, a reward model that prefers those answers. Each is
// trained where it is first asked for, which takes a second.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/run_job.h"

namespace talaria::worker {

// What the fine-tuned model was asked and answers.
extern const std::vector<std::pair<std::string, std::string>> kTalk;

class UseModels {
 public:
  // A new folder of that name with the data.
  explicit UseModels(const std::string& name);
  ~UseModels();
  UseModels(const UseModels&) = delete;
  UseModels& operator=(const UseModels&) = delete;

  std::string path(const std::string& name) const { return (jobs_.path() / name).string(); }
  // The run "pretrain", "sft" or "reward". Throws Error when its job fails.
  std::string run(const std::string& name) const;
  // Writes a file of that name and returns its path.
  std::string write(const std::string& name, const std::string& content) const;
  std::string read(const std::string& name) const;
  const JobFolder& jobs() const { return jobs_; }
  // Of kTalk as lines of "prompt" and "answer".
  std::string questions() const { return path("questions.jsonl"); }

  // Trains runs/NAME on the data that these lines of [data] name.
  void train(const std::string& name, const std::string& kind, const std::string& data, int steps,
             const std::string& tokenizer = "data/tokenizer") const;

 private:
  JobFolder jobs_;
};

}  // namespace talaria::worker
