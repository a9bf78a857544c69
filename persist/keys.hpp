#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

/// The store's own records in `meta`.
inline constexpr std::string_view format_key = "store/format";     // both: number of the layout
inline constexpr std::string_view identity_key = "store/identity"; // cluster: what ties the log to it
inline constexpr std::string_view index_key = "store/index";       // cluster: of its last checkpoint
inline constexpr std::string_view position_key =
    "store/position";                                        // local: last checkpoint's index, last event's number
inline constexpr std::string_view epoch_key = "store/epoch"; // local: of the event log
std::string epoch_key_of(const std::string& member);         // cluster: the last epoch this member used

/// Big-endian, so that byte order is number order.
std::string encode_number(uint64_t number);
/// Of the first eight bytes.
uint64_t decode_number(std::string_view bytes);

} // namespace troupe
