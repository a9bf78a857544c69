#pragma once

#include "backends/web/web_call.hpp"

/// The entry of the module `troupe-web.so`: libcurl and what it brings cost a daemon megabytes, also one that never
/// calls anybody. web_call.cpp loads it with the first call.
extern "C" [[gnu::visibility("default")]] void troupe_call_web(const troupe::web_call& call,
                                                               const troupe::cancel_token& stop,
                                                               troupe::outcome<troupe::web_answer>& out);
