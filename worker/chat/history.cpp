// SPDX-License-Identifier: Apache-2.0
#include "worker/chat/history.h"

#include <utility>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/chat/chat_file.h"

namespace talaria::worker {

using storage::Message;
using storage::Role;

ChatHistory::ChatHistory(std::string chat_template, const storage::Tokenizer& tokenizer)
    : template_(std::move(chat_template)), tokenizer_(tokenizer) {
  storage::check_template(template_);
}

void ChatHistory::set_system(const std::string& text) {
  // Judged with a turn behind it, as no template spells it alone.
  if (!text.empty()) storage::spell(template_, {{Role::kSystem, text}, {Role::kUser, "x"}}, true);
  system_ = text;
}

std::vector<Message> ChatHistory::spelled_with(std::size_t first, const std::string& user) const {
  std::vector<Message> all;
  if (!system_.empty()) all.push_back({Role::kSystem, system_});
  for (std::size_t i = first; i < turns_.size(); ++i) {
    all.push_back({Role::kUser, turns_[i].user});
    all.push_back({Role::kAssistant, turns_[i].assistant});
  }
  all.push_back({Role::kUser, user});
  return all;
}

std::vector<std::int32_t> ChatHistory::ask(const std::string& user, std::int64_t longest) {
  if (const std::size_t valid = utf8_prefix(user); valid < user.size()) {
    fail_usage("byte {} of the line is no UTF-8; set the terminal to UTF-8", valid + 1);
  }
  for (std::size_t first = 0; first <= turns_.size(); ++first) {
    std::vector<std::int32_t> ids =
        storage::encode_open(spelled_with(first, user), tokenizer_, template_);
    if (static_cast<std::int64_t>(ids.size()) > longest) {
      if (first < turns_.size()) continue;
      fail_usage("the message{} takes {} tokens, of which the context has room for {}; shorten it",
                 system_.empty() ? "" : " with the system message", ids.size(), longest);
    }
    turns_.erase(turns_.begin(), turns_.begin() + static_cast<std::ptrdiff_t>(first));
    dropped_ += static_cast<std::int64_t>(first);
    asked_ = user;
    return ids;
  }
  TALARIA_CHECK(false, "no turn was tried");
  return {};
}

bool ChatHistory::answered(std::string_view words) {
  if (words.find_first_not_of(" \t\n\v\f\r") == std::string_view::npos) return false;
  turns_.push_back({std::exchange(asked_, {}), std::string(words)});
  return true;
}

std::vector<Message> ChatHistory::messages() const {
  std::vector<Message> all = spelled_with(0, "");
  all.pop_back();
  return all;
}

}  // namespace talaria::worker
