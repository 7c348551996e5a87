// SPDX-License-Identifier: Apache-2.0
// One conversation of `talaria chat`: a line of the person becomes a command or a turn, the answer
// streams to the terminal.
#pragma once

#include <cstdint>
#include <string>

#include "model/generator.h"
#include "worker/chat/history.h"
#include "worker/chat/terminal.h"
#include "worker/inference_model.h"

namespace talaria::worker {

struct ChatSettings {
  std::string chat_template;
  std::string system;
  std::int64_t tokens = 256;  // of an answer, at most
  model::SamplerOptions sampler = {.temperature = 0.8, .top_k = 40};
  bool json = false;  // a line of JSON an answer
};

class ChatSession {
 public:
  // Throws UsageError for a template or a system message that cannot be. All must outlive it.
  ChatSession(InferenceModel& model, ChatTerminal& terminal, const ChatSettings& settings);

  // Until the lines end or /quit. What cannot be done is said on stderr and, where no person sits
  // there, ends it. Returns the exit code.
  int run();

 private:
  struct Answer {
    std::string words;        // of the message
    std::int64_t tokens = 0;  // drawn
    bool stopped = false;     // by the end of turn, or by words that begin another turn
    bool interrupted = false;
  };

  // False: the conversation ends.
  bool use(const std::string& line);
  bool command(const std::string& line);
  void turn(const std::string& user);
  Answer answer(const std::vector<std::int32_t>& ids);
  void save(const std::string& path) const;
  void tell_dropped();

  InferenceModel& model_;
  ChatTerminal& terminal_;
  ChatSettings settings_;
  ChatHistory history_;
  model::Generator generator_;
  std::int32_t end_of_turn_;
  std::uint64_t turns_ = 0;
  bool told_dropped_ = false;
};

}  // namespace talaria::worker
