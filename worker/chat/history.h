// SPDX-License-Identifier: Apache-2.0
// The messages of `talaria chat` between turns, and what of them fits into the model's context.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "storage/chat/conversation.h"
#include "storage/text/tokenizer.h"

namespace talaria::worker {

class ChatHistory {
 public:
  // Throws UsageError for an unknown template. The tokenizer must outlive the object.
  ChatHistory(std::string chat_template, const storage::Tokenizer& tokenizer);

  // "": no system message. Throws UsageError, and changes nothing, where the template has none or
  // the words hold a marker.
  void set_system(const std::string& text);
  // Forgets the turns; the system message stays.
  void reset() { turns_.clear(); }

  // The ids that end where the answer to `user` begins, at most `longest` of them. As many of the
  // oldest turns (a question with its answer) are forgotten as that takes; `dropped()` counts them.
  // Throws UsageError, and changes nothing, when the message alone is too long or cannot be
  // spelled.
  std::vector<std::int32_t> ask(const std::string& user, std::int64_t longest);
  // The answer to the last ask(). Without words (blanks) the turn is forgotten; returns whether it
  // was kept. `words` hold no marker of the template (storage::plain_words).
  bool answered(std::string_view words);

  // What would be sent now, the system message first; whole turns only.
  std::vector<storage::Message> messages() const;
  std::int64_t dropped() const { return dropped_; }
  const std::string& chat_template() const { return template_; }

 private:
  struct Turn {
    std::string user;
    std::string assistant;
  };
  std::vector<storage::Message> spelled_with(std::size_t first, const std::string& user) const;

  std::string template_;
  const storage::Tokenizer& tokenizer_;
  std::string system_;
  std::vector<Turn> turns_;
  std::string asked_;
  std::int64_t dropped_ = 0;
};

}  // namespace talaria::worker
