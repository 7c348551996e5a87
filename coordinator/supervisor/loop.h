// SPDX-License-Identifier: Apache-2.0
// Observe, plan, act, a few times a second and whenever something happens. Everything it knows
// beside the store is looked up anew after a restart.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "cluster/base/lock_file.h"
#include "coordinator/state/plan.h"
#include "coordinator/state/store.h"
#include "coordinator/supervisor/coordinator.h"
#include "coordinator/supervisor/rank_listener.h"
#include "coordinator/supervisor/watch.h"

namespace talaria::coordinator {

class Loop {
 public:
  // Takes the lock of the state directory, which it makes, and opens the store.
  Loop(boost::asio::io_context& io, const Options& options);

  void start();
  // The store was changed from outside the loop: look at once.
  void wake();

  Store& store() { return store_; }
  const Store& store() const { return store_; }
  // Of a stage whose attempt has not ended; else null.
  const StageWatch* watch(const StageKey& stage) const;
  const std::string& notice() const { return notice_; }

 private:
  void tick();
  void work();
  std::vector<Action> starts(double now) const;
  void refresh();
  void look_at_ranks();
  void judge_hang(const StageKey& stage, StageWatch& watch, double now);
  std::map<StageKey, Observation> observe();
  Observation observe(const StageRow& stage, StageWatch& watch) const;

  void act(const Action& action);
  void start_attempt(const StageKey& stage);
  void launch(const StageKey& stage);
  void end_attempt(const StageKey& stage, const AttemptEnd& end);
  void record_failure(const StageWatch& watch, const AttemptEnd& end) const;
  void signal(const StageKey& stage, int signal);

  StageWatch& watch_of(const StageKey& stage);
  const JobRow& job_of(const StageKey& stage) const;
  const StageRow& row_of(const StageKey& stage) const;
  StageWatch* find_attempt(const std::string& attempt_id);
  RankListener::Handlers rank_handlers();
  std::string channel_address(const launch::Job& job);
  void complain(const std::string& about, const std::string& text);

  boost::asio::io_context& io_;
  Options options_;
  LockFile lock_;
  Store store_;
  boost::asio::steady_timer timer_;
  std::unique_ptr<RankListener> listener_;       // of this node's ranks
  std::unique_ptr<RankListener> wide_listener_;  // of other nodes' too, once a job has some
  std::vector<JobRow> jobs_;                     // unended; valid until stale_
  bool stale_ = true;
  std::map<StageKey, StageWatch> watches_;
  std::map<std::string, StageKey> attempts_;  // by attempt id
  std::map<std::string, std::string>
      complaints_;  // the last one about each thing, so that it is said once
  std::string notice_;
  double last_tick_ = 0.0;
};

}  // namespace talaria::coordinator
