// SPDX-License-Identifier: Apache-2.0
// Ranks report to the coordinator over TCP: can a port be bound and reached on this machine?
#pragma once

#include <string>

namespace talaria::doctor {

// "", or the sentence that says which step failed and why.
std::string try_loopback();

}  // namespace talaria::doctor
