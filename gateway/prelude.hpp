#pragma once

// Precompiled: what every handler includes.
#include "actors/prelude.hpp"
#include <caf/send.hpp>
#include <functional>
#include <nlohmann/json.hpp>

#include "actors/operations.hpp"
#include "messages/instance.capnp.h"
#include "messages/json.hpp"
