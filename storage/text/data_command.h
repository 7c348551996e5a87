// SPDX-License-Identifier: Apache-2.0
// The command line of text: data prepare | encode | decode | inspect | chat.
#pragma once

namespace talaria::storage {

// argv[0] is the name shown in help, for example "talaria-worker data"; argv[1] the subcommand.
// Results go to stdout, progress and complaints to stderr. Returns an ExitCode: 0, 1 when reading
// or writing failed, 2 for wrong usage or input.
int data_command(int argc, char** argv);

}  // namespace talaria::storage
