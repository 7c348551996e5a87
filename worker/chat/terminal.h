// SPDX-License-Identifier: Apache-2.0
// The person's side of `talaria chat`: lines from stdin, Ctrl-C, and text that cannot harm a
// terminal. No signal handler: SIGINT is blocked and looked for, as worker/signals.h explains.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cluster/base/file.h"

namespace talaria::worker {

// Text for a terminal: line ends and tabs stay, other control characters and marks that turn the
// direction of writing become visible (\x1b, \u202e). Valid UTF-8 in, valid UTF-8 out.
std::string terminal_text(std::string_view text);

class ChatTerminal {
 public:
  // Make it before any thread starts: threads inherit the mask. SIGINT is blocked where stdin is a
  // terminal, and ends the process as usual where it is not.
  ChatTerminal();

  // Whether a person sits there: stdin and stdout are terminals.
  bool is_person() const { return reads_terminal_ && writes_terminal_; }

  // The next line without its end, after `prompt` where a person sits there; nothing at the end of
  // stdin, or at Ctrl-C.
  std::optional<std::string> next_line(std::string_view prompt);
  // Whether Ctrl-C came since the last call.
  bool interrupted();

  // To stdout at once; made harmless where that is a terminal. `text` is valid UTF-8.
  void write(std::string_view text) const;

 private:
  bool wait_for_input();

  bool reads_terminal_;
  bool writes_terminal_;
  UniqueFd interrupts_;  // a signalfd; none where stdin is no terminal
  std::string buffer_;
  bool ended_ = false;
};

}  // namespace talaria::worker
