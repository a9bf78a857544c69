#include "runtime/uuid.hpp"
#include "runtime/sha256.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <sys/random.h>

namespace troupe {
namespace {

constexpr std::string_view digits = "0123456789abcdef";
using uuid_bytes = std::array<uint8_t, 16>;

void fill_random(uint8_t* at, size_t bytes) {
  while (bytes > 0) {
    auto got = ::getrandom(at, bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw std::runtime_error{"The kernel gives no random bytes"}; // no secret is better than a known one
    at += got;
    bytes -= static_cast<size_t>(got);
  }
}

std::string to_text(uuid_bytes bytes, unsigned version) {
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | version << 4);
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  std::string made;
  made.reserve(36);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) made += '-';
    made += digits[bytes[i] >> 4];
    made += digits[bytes[i] & 15];
  }
  return made;
}

/// Milliseconds since 1970 and, below, 12 bits of fraction; each call gives more than the one before, whatever the
/// clock.
uint64_t next_tick() {
  using namespace std::chrono;
  static std::atomic<uint64_t> last{0};
  auto now = duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
  auto ms = static_cast<uint64_t>(now / 1'000'000);
  auto fraction = static_cast<uint64_t>(now % 1'000'000) * 4096 / 1'000'000;
  auto wanted = ms << 12 | fraction;
  auto seen = last.load(std::memory_order_relaxed);
  uint64_t mine = 0;
  do mine = std::max(wanted, seen + 1);
  while (!last.compare_exchange_weak(seen, mine, std::memory_order_relaxed));
  return mine;
}

} // namespace

std::string make_uuid_v7() {
  uuid_bytes bytes;
  fill_random(bytes.data() + 8, 8);
  auto tick = next_tick();
  auto ms = tick >> 12;
  for (int i = 0; i < 6; ++i) bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(ms >> (40 - 8 * i));
  bytes[6] = static_cast<uint8_t>(tick >> 8 & 0x0f);
  bytes[7] = static_cast<uint8_t>(tick);
  return to_text(bytes, 7);
}

std::string make_uuid_v4() {
  uuid_bytes bytes;
  fill_random(bytes.data(), bytes.size());
  return to_text(bytes, 4);
}

std::string uuid_of(std::string_view text) {
  uuid_bytes bytes;
  auto hex = sha256_hex(text);
  auto digit = [&](size_t at) { return static_cast<uint8_t>(digits.find(hex[at])); };
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(digit(2 * i) << 4 | digit(2 * i + 1));
  return to_text(bytes, 8);
}

std::string random_hex(size_t bytes) {
  std::string made(bytes * 2, '\0');
  auto* raw = reinterpret_cast<uint8_t*>(made.data());
  fill_random(raw + bytes, bytes); // into the upper half, then spread from the lowest on: never read after written
  for (size_t i = 0; i < bytes; ++i) {
    auto byte = raw[bytes + i];
    made[2 * i] = digits[byte >> 4];
    made[2 * i + 1] = digits[byte & 15];
  }
  return made;
}

} // namespace troupe
