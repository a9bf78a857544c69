#include "backends/transfer/stream/send_stream.hpp"
#include "messages/unique_fd.hpp"

#include <catch2/catch.hpp>
#include <sys/mman.h>
#include <unistd.h>

using namespace troupe;

namespace {

const std::string head{"btrfs-stream\0\1\0\0\0", 17};

uint32_t sum_of(std::string_view data) {
  uint32_t sum = 0;
  for (unsigned char byte : data) {
    sum ^= byte;
    for (int bit = 0; bit < 8; ++bit) sum = sum & 1 ? sum >> 1 ^ 0x82f63b78 : sum >> 1;
  }
  return sum;
}

template <class Number>
std::string little(Number value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string attribute(uint16_t number, std::string_view value) {
  return little(number) + little(static_cast<uint16_t>(value.size())) + std::string{value};
}

std::string command(send_verb verb, const std::string& body) {
  auto whole = [&](uint32_t sum) {
    return little(static_cast<uint32_t>(body.size())) + little(static_cast<uint16_t>(verb)) + little(sum) + body;
  };
  return whole(sum_of(whole(0)));
}

struct given {
  explicit given(const std::string& bytes) : file{memfd_create("stream", MFD_CLOEXEC)} {
    REQUIRE(write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    REQUIRE(lseek(file.get(), 0, SEEK_SET) == 0);
  }
  unique_fd file;
  send_stream stream{file.get()};
};

std::optional<fault> end_of(const std::string& bytes) {
  given from{bytes};
  for (;;) {
    auto next = from.stream.next();
    if (!next) return next.error().code;
    if (next->verb == send_verb::end) return std::nullopt;
  }
}

const std::string times = attribute(10, little(uint64_t{7}) + little(uint32_t{8})) +
                          attribute(11, little(uint64_t{9}) + little(uint32_t{10}));

} // namespace

TEST_CASE("commands of a stream are read with their attributes") {
  given from{
      head +
      command(send_verb::write, attribute(15, "a/b") + attribute(18, little(uint64_t{5})) + attribute(19, "data")) +
      command(send_verb::set_times, attribute(15, "a") + times + attribute(12, "odd")) + command(send_verb::end, "")};
  auto written = from.stream.next();
  REQUIRE(written);
  CHECK(written->verb == send_verb::write);
  CHECK(written->path == "a/b");
  CHECK(written->offset == 5);
  CHECK(written->data == "data");
  auto set = from.stream.next();
  REQUIRE(set);
  CHECK(set->modified.tv_sec == 7);
  CHECK(set->accessed.tv_nsec == 10);
  CHECK(from.stream.next()->verb == send_verb::end);
}

TEST_CASE("a stream that is cut off or changed anywhere is refused") {
  auto whole = head + command(send_verb::make_file, attribute(15, "path")) + command(send_verb::end, "");
  REQUIRE(end_of(whole) == std::nullopt);
  for (size_t size = 0; size < whole.size(); ++size) CHECK(end_of(whole.substr(0, size)) == fault::invalid);
  for (size_t at = 0; at < whole.size(); ++at) {
    auto other = whole;
    other[at] = static_cast<char>(other[at] ^ 0x40);
    CHECK(end_of(other) != std::nullopt);
  }
}

TEST_CASE("attributes that are missing, twice, too long or of another size are refused") {
  auto refused = [](send_verb verb, const std::string& body) {
    return end_of(head + command(verb, body) + command(send_verb::end, "")) == fault::invalid;
  };
  CHECK(refused(send_verb::make_file, ""));
  CHECK(refused(send_verb::make_file, attribute(15, "a") + attribute(15, "b")));
  CHECK(refused(send_verb::make_file, attribute(15, "a").substr(0, 4)));
  CHECK(refused(send_verb::make_file, attribute(15, "a") + "x"));
  CHECK(refused(send_verb::truncate, attribute(15, "a") + attribute(4, "1234")));
  CHECK(refused(send_verb::set_times,
                attribute(15, "a") + attribute(10, std::string(12, '\xff')) + attribute(11, std::string(12, '\0'))));
  CHECK(end_of(head + command(static_cast<send_verb>(25), "")) == fault::unsupported);
}

TEST_CASE("ids of subvolumes are read as they are written") {
  subvolume_id id{};
  id[0] = 0xab;
  id[15] = 0x0f;
  CHECK(text_of(id) == "ab000000-0000-0000-0000-00000000000f");
  CHECK(parse_subvolume_id(text_of(id)) == id);
  for (auto bad : {"", "-", "ab", "ab000000-0000-0000-0000-00000000000f0", "xb000000-0000-0000-0000-00000000000f"})
    CHECK_FALSE(parse_subvolume_id(bad));
}
