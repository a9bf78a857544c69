#pragma once

// Precompiled: what nearly every actor includes.
#include <caf/actor_system.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/response_promise.hpp>
#include <caf/stateful_actor.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "messages/config_map.hpp"
#include "messages/error.hpp"
#include "messages/message.hpp"
