// SPDX-License-Identifier: Apache-2.0
#include "launch/script/script_text.h"

#include <fmt/format.h>

namespace talaria::launch {

std::string signals_text(const std::string& start) {
  static constexpr const char* kStop =
      R"(# SIGTERM and Ctrl-C ask the ranks to stop after the step they are in: they save a checkpoint and
# end with 75. A second one ends them at once.
pid=
stops=0
stop() {
  stops=$((stops + 1))
  [ -n "$pid" ] || return 0
  if [ "$stops" -eq 1 ]; then
    echo 'stopping with a checkpoint; once more: at once' >&2
    kill -USR1 "$pid" || true
  else
    kill -TERM "$pid" || true
  fi
}
trap stop HUP INT TERM

# Runs a command and waits for it, through all signals. Its exit code is in `status`.
run() {
  local heard
)";
  static constexpr const char* kRun = R"(  pid=$!
  [ "$stops" -eq 0 ] || kill -USR1 "$pid" || true  # asked before there was a pid
  while :; do
    heard=$stops
    status=0
    wait "$pid" || status=$?
    [ "$stops" -ne "$heard" ] || break  # else a signal ended the wait, not the command
  done
  pid=
}

# Sleeps, or wakes up when a stop is asked for.
nap() {
  sleep "$1" &
  wait "$!" || kill "$!" || true
}
)";
  return fmt::format("{}  {}\"$@\" </dev/null &\n{}", kStop, start, kRun);
}

std::string train_text(const std::string& stopped_body) {
  static constexpr const char* kBefore = R"(newest_checkpoint() {
  local all=("$1"/checkpoints/step-*)
  echo "${all[-1]}"
}

# What follows exit code 75: stopped early, with a checkpoint.
stopped() {
)";
  static constexpr const char* kTrain = R"(}

# train NAME FOLDER RESTARTS COMMAND...: runs a command to its end. After a failure it runs again, from
# the newest checkpoint, after 1, 2, 4 ... 60 s. RESTARTS counts failures since the last new checkpoint,
# so a run that makes progress is not given up.
train() {
  local name=$1 folder=$2 restarts=$3 failures=0 delay=1 before after
  shift 3
  [ "$stops" -eq 0 ] || exit 75
  before=$(newest_checkpoint "$folder")
  while :; do
    run "$@"
    case $status in
      0) return 0 ;;
      2) exit 2 ;;
      75) stopped ;;
      138) [ "$stops" -eq 0 ] || stopped ;;  # SIGUSR1 came before the ranks could hear it
    esac
    if [ "$stops" -gt 0 ]; then
      echo "$name: ended at once, exit code $status" >&2
      exit 1
    fi
    after=$(newest_checkpoint "$folder")
    if [ "$after" != "$before" ]; then
      before=$after failures=0 delay=1
    fi
    failures=$((failures + 1))
    if [ "$failures" -gt "$restarts" ]; then
      echo "$name: exit code $status; given up after $failures failures without a new checkpoint" >&2
      exit 1
    fi
    echo "$name: exit code $status; again in $delay s, restart $failures of $restarts" >&2
    nap "$delay"
    [ "$stops" -eq 0 ] || exit 1
    delay=$((delay < 30 ? 2 * delay : 60))
  done
}
)";
  return fmt::format("{}{}{}", kBefore, stopped_body, kTrain);
}

}  // namespace talaria::launch
