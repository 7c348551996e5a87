// SPDX-License-Identifier: Apache-2.0
#include "worker/chat/terminal.h"

#include <cerrno>
#include <csignal>
#include <span>

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"

namespace talaria::worker {

std::string terminal_text(std::string_view text) {
  std::string safe;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find_first_of("\n\t", at), text.size());
    safe += one_line(text.substr(at, end - at));
    if (end < text.size()) safe += text[end];
    at = end + 1;
  }
  return safe;
}

ChatTerminal::ChatTerminal()
    : reads_terminal_(::isatty(STDIN_FILENO) == 1), writes_terminal_(::isatty(STDOUT_FILENO) == 1) {
  if (!reads_terminal_) return;
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGINT);
  check_sys(::sigprocmask(SIG_BLOCK, &set, nullptr), "sigprocmask", "SIGINT");
  interrupts_ =
      UniqueFd(check_sys(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd", "SIGINT"));
}

bool ChatTerminal::interrupted() {
  if (!reads_terminal_) return false;
  bool seen = false;
  signalfd_siginfo info{};
  while (::read(interrupts_.get(), &info, sizeof info) > 0) seen = true;
  return seen;
}

// False at Ctrl-C.
bool ChatTerminal::wait_for_input() {
  pollfd waiting[] = {{STDIN_FILENO, POLLIN, 0}, {interrupts_.get(), POLLIN, 0}};
  while (true) {
    const int ready = ::poll(waiting, reads_terminal_ ? 2 : 1, -1);
    // The process was stopped (Ctrl-Z) and goes on.
    if (ready < 0 && errno == EINTR) continue;
    check_sys(ready, "poll", "stdin");
    return !interrupted();
  }
}

std::optional<std::string> ChatTerminal::next_line(std::string_view prompt) {
  if (is_person()) write(prompt);
  while (!ended_) {
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      if (line.ends_with('\r')) line.pop_back();
      return line;
    }
    if (!wait_for_input()) break;
    char bytes[4096];
    const ssize_t got = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    check_sys(got, "read", "stdin");
    buffer_.append(bytes, static_cast<std::size_t>(got));
    ended_ = got == 0;
  }
  // A last line without its end counts when stdin ended, not when it was broken off.
  if (!ended_ || buffer_.empty()) return std::nullopt;
  return std::exchange(buffer_, {});
}

void ChatTerminal::write(std::string_view text) const {
  const std::string safe = writes_terminal_ ? terminal_text(text) : std::string(text);
  write_all(STDOUT_FILENO, std::as_bytes(std::span(safe)), "stdout");
}

}  // namespace talaria::worker
