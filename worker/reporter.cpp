// SPDX-License-Identifier: Apache-2.0
#include "worker/reporter.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <csignal>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "worker/coordinator_link.h"
#include "worker/memory_use.h"

namespace talaria::worker {

namespace fs = std::filesystem;

// The thread owns it too, so that one which hangs in the look-up of a name can be left behind.
struct ReporterState {
  ReporterOptions options;
  std::shared_ptr<const wire::RankStatus> status;
  UniqueFd wake;  // eventfd
  std::atomic<bool> news = false;
  std::atomic<bool> stop = false;
  std::atomic<bool> quitting = false;
  std::atomic<int> exit_code = -1;  // below 0: no bye is to be said
  std::mutex mutex;
  std::condition_variable ended_changed;
  bool ended = false;
  std::thread thread;
};

namespace {

constexpr double kRetrySeconds = 1.0;
constexpr double kConnectSeconds = 2.0;
constexpr double kWelcomeSeconds = 10.0;
// Between two beats, also when phases change quickly.
constexpr double kLeastBeatSeconds = 0.05;
constexpr double kMostBeatSeconds = 3600.0;
// How long the last words may take, and then the end of the thread.
constexpr double kByeSeconds = 0.7;
constexpr std::chrono::milliseconds kJoin(950);
// How long the peer has to read the last words before the connection is closed.
constexpr double kLingerSeconds = 0.1;

// The thread's own part: one conversation after another.
class Conversation {
 public:
  explicit Conversation(ReporterState& shared)
      : shared_(shared), options_(shared.options), status_(*shared.status) {}

  void run();

 private:
  // From connect to the end of the connection, by Error, or of the reporter.
  void talk();
  // One wait for the socket, a wake or `until`, and what follows from it.
  void turn(CoordinatorLink& link, double until);
  void hear(const wire::RankMessage& message);
  wire::Hello hello() const;
  wire::Beat beat() const;
  void say_bye(CoordinatorLink& link);
  // The time of the next beat, which news bring forward.
  double next_beat() const;
  // Sleeps, for as long as the reporter is wanted.
  void pause(double seconds) const;
  void clear_wake() const;
  void note_lost(const std::string& why);
  void note_welcome();

  ReporterState& shared_;
  const ReporterOptions& options_;
  const wire::RankStatus& status_;

  std::string address_;
  std::size_t turns_ = 0;  // connections tried
  bool welcome_ = false;
  bool refused_ = false;
  bool told_lost_ = false;
  double beat_seconds_ = 1.0;
  double last_beat_ = 0.0;
};

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

std::string read_word(const fs::path& path) {
  std::string text = read_file(path);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

int milliseconds_until(double time) {
  const double seconds = std::clamp(time - monotonic_seconds(), 0.0, 3600.0);
  return static_cast<int>(std::ceil(seconds * 1000.0));
}

void Conversation::run() {
  while (!shared_.quitting && !refused_) {
    try {
      talk();
    } catch (const std::exception& error) {
      note_lost(error.what());
    }
    if (!refused_) pause(kRetrySeconds);
  }
}

void Conversation::talk() {
  welcome_ = false;
  const fs::path channel = options_.attempt_folder / "channel";
  // Nobody listens.
  if (!fs::exists(channel) || (address_ = read_word(channel)).empty()) return;
  CoordinatorLink link(address_, turns_++);
  const double started = monotonic_seconds();
  while (!link.connected()) {
    if (shared_.quitting) return;
    if (monotonic_seconds() > started + kConnectSeconds) fail("connect: no answer");
    turn(link, started + kConnectSeconds);
  }
  link.send(hello());
  const double asked = monotonic_seconds();
  while (!welcome_ && !refused_) {
    if (shared_.quitting && shared_.exit_code < 0) return;
    const double give_up = asked + (shared_.quitting ? kByeSeconds : kWelcomeSeconds);
    if (monotonic_seconds() > give_up) fail("no welcome");
    turn(link, give_up);
  }
  last_beat_ = -std::numeric_limits<double>::infinity();
  while (!shared_.quitting && !refused_) {
    if (link.can_send() && monotonic_seconds() >= next_beat()) {
      shared_.news = false;
      last_beat_ = monotonic_seconds();
      link.send(beat());
    }
    turn(link, link.can_send() ? next_beat() : monotonic_seconds() + kRetrySeconds);
  }
  if (shared_.quitting && shared_.exit_code >= 0) say_bye(link);
}

void Conversation::turn(CoordinatorLink& link, double until) {
  pollfd ready[2] = {{link.fd(), link.events(), 0}, {shared_.wake.get(), POLLIN, 0}};
  // After a request to quit the wake stays up: only the socket is waited for.
  if (::poll(ready, shared_.quitting ? 1 : 2, milliseconds_until(until)) < 0 && errno != EINTR) {
    fail_errno("poll", "the coordinator's connection");
  }
  if (ready[1].revents != 0) clear_wake();
  link.advance();
  if (!link.connected()) return;
  while (!refused_) {
    const std::optional<wire::RankMessage> message = link.next();
    if (!message) return;
    hear(*message);
  }
}

void Conversation::hear(const wire::RankMessage& message) {
  if (const auto* welcome = std::get_if<wire::Welcome>(&message)) {
    if (std::isfinite(welcome->beat_seconds)) {
      beat_seconds_ = std::clamp(welcome->beat_seconds, kLeastBeatSeconds, kMostBeatSeconds);
    }
    welcome_ = true;
    note_welcome();
  } else if (const auto* refused = std::get_if<wire::Refused>(&message)) {
    refused_ = true;
    log_warning("the coordinator at {} refuses this rank's reports: {}", one_line(address_),
                one_line(refused->reason));
  } else if (std::holds_alternative<wire::Stop>(message)) {
    if (!shared_.stop.exchange(true)) log_info("the coordinator asks for a stop with a checkpoint");
  } else {
    fail("the coordinator sent a message that is a rank's");
  }
}

wire::Hello Conversation::hello() const {
  wire::Hello hello;
  hello.attempt_id = options_.attempt_id;
  hello.secret = read_word(options_.attempt_folder / "secret");
  hello.rank = options_.rank;
  hello.world = options_.world;
  hello.pid = ::getpid();
  hello.host = host_name();
  return hello;
}

wire::Beat Conversation::beat() const {
  wire::Beat beat;
  beat.step = status_.step;
  beat.steps = status_.steps;
  beat.phase = static_cast<wire::Phase>(status_.phase.load());
  beat.phase_seconds = std::max(0.0, monotonic_seconds() - status_.phase_started);
  beat.wait = static_cast<wire::Wait>(status_.wait.load());
  beat.checkpoint_step = status_.checkpoint_step;
  beat.loss = status_.loss;
  beat.tokens_per_second = status_.tokens_per_second;
  beat.mfu = status_.mfu;
  const double validation = status_.validation_loss;
  if (!std::isnan(validation)) beat.validation_loss = validation;
  beat.rss_bytes = resident_bytes();
  return beat;
}

void Conversation::say_bye(CoordinatorLink& link) {
  const double deadline = monotonic_seconds() + kByeSeconds;
  const auto flush = [&] {
    while (!link.can_send()) {
      if (monotonic_seconds() > deadline) fail("the last words were not read");
      turn(link, deadline);
    }
  };
  flush();
  link.send(beat());
  flush();
  link.send(wire::Bye{shared_.exit_code});
  flush();
  link.end();
  // Closing at once would reset the connection, and lose the words, if the peer wrote meanwhile.
  const double close = monotonic_seconds() + kLingerSeconds;
  while (monotonic_seconds() < close) turn(link, close);
}

double Conversation::next_beat() const {
  return last_beat_ + (shared_.news ? std::min(kLeastBeatSeconds, beat_seconds_) : beat_seconds_);
}

void Conversation::pause(double seconds) const {
  const double end = monotonic_seconds() + seconds;
  while (!shared_.quitting && monotonic_seconds() < end) {
    pollfd ready = {shared_.wake.get(), POLLIN, 0};
    if (::poll(&ready, 1, milliseconds_until(end)) > 0) clear_wake();
  }
}

void Conversation::clear_wake() const {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(shared_.wake.get(), &count, sizeof count);
}

// A coordinator that comes and goes is told in two lines, not in one a second.
void Conversation::note_lost(const std::string& why) {
  if (shared_.quitting || std::exchange(told_lost_, true)) return;
  log_warning("no coordinator at {}: {}; training goes on, and it is tried again every second",
              one_line(address_), one_line(why));
}

void Conversation::note_welcome() {
  if (std::exchange(told_lost_, false)) {
    log_info("the coordinator at {} answers again", one_line(address_));
  }
}

// A thread with all signals blocked: no handler of anybody ever runs in it.
template <class Body>
std::thread start_deaf_thread(Body body) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  if (const int error = ::pthread_sigmask(SIG_SETMASK, &all, &before); error != 0) {
    fail_errno("pthread_sigmask", "reporter", error);
  }
  std::thread thread;
  std::exception_ptr failure;
  try {
    thread = std::thread(std::move(body));
  } catch (...) {
    failure = std::current_exception();
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failure) std::rethrow_exception(failure);
  return thread;
}

}  // namespace

Reporter::Reporter(std::shared_ptr<wire::RankStatus> status) : status_(std::move(status)) {}

Reporter::~Reporter() { quit(); }

void Reporter::start(const ReporterOptions& options) {
  TALARIA_CHECK(!shared_);
  try {
    auto shared = std::make_shared<ReporterState>();
    shared->options = options;
    shared->status = status_;
    shared->wake.reset(check_sys(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd", "reporter"));
    shared->thread = start_deaf_thread([shared] {
      ::pthread_setname_np(::pthread_self(), "reporter");
      Conversation(*shared).run();
      const std::lock_guard lock(shared->mutex);
      shared->ended = true;
      shared->ended_changed.notify_all();
    });
    shared_ = std::move(shared);
  } catch (const std::exception& error) {
    log_warning("this rank does not report: {}", error.what());
  }
}

void Reporter::enter(wire::Phase phase) {
  const bool new_phase = status_->phase.load() != static_cast<std::int32_t>(phase);
  status_->enter(phase);
  if (new_phase) tell();
}

void Reporter::tell() {
  if (!shared_) return;
  shared_->news = true;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(shared_->wake.get(), &one, sizeof one);
}

bool Reporter::stop_requested() const { return shared_ && shared_->stop; }

void Reporter::finish(int exit_code) {
  if (shared_) shared_->exit_code = exit_code;
  quit();
}

void Reporter::quit() {
  if (!shared_) return;
  shared_->quitting = true;
  tell();
  std::unique_lock lock(shared_->mutex);
  const bool ended =
      shared_->ended_changed.wait_for(lock, kJoin, [this] { return shared_->ended; });
  lock.unlock();
  ended ? shared_->thread.join() : shared_->thread.detach();
  shared_.reset();
}

}  // namespace talaria::worker
