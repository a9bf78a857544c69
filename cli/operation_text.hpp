#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace troupe {

/// An operation for a person: its facts, then a table of its steps, then what it left behind. `operation` is what the
/// server shows with recursion=1.
std::string operation_text(const nlohmann::json& operation);

/// The step that runs, with its progress, rate and the time it will still take: "volume.clone 42% of 10.0 MiB, 5.1
/// MiB/s, 1 s left". Empty if none runs.
std::string progress_text(const nlohmann::json& operation);

/// A cancel_effect as a sentence's end.
std::string_view meaning_of_cancel(std::string_view effect);

/// The state in capitals: ours where LXD has no word for it.
std::string state_text(const nlohmann::json& operation);

} // namespace troupe
