// SPDX-License-Identifier: Apache-2.0
// Counts SQL statements, and can kill the process (SIGKILL) before or after one of them: how tests
// reach every instant at which a coordinator may die. Armed by arm_statement_crash() (store.h).
#pragma once

namespace talaria::coordinator {

void before_statement();
void after_statement();

}  // namespace talaria::coordinator
