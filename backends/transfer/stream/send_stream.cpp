#include "backends/transfer/stream/send_stream.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <endian.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr char magic[] = "btrfs-stream"; // with its zero
constexpr uint32_t version = 1;
constexpr size_t frame_max = 64 << 10, head_size = 10, sum_at = 6;
constexpr uint32_t billion = 1'000'000'000;

// Attributes, by the kernel's numbers.
enum attribute : uint16_t {
  a_id = 1,
  a_size = 4,
  a_mode = 5,
  a_owner = 6,
  a_group = 7,
  a_device = 8,
  a_modified = 10,
  a_accessed = 11,
  a_xattr_name = 13,
  a_xattr_data = 14,
  a_path = 15,
  a_to = 16,
  a_link = 17,
  a_offset = 18,
  a_data = 19,
  a_clone_id = 20,
  a_clone_path = 22,
  a_clone_offset = 23,
  a_clone_size = 24,
  attribute_end = 25,
};
using attributes = std::array<std::optional<std::string_view>, attribute_end>;

constexpr uint32_t set_of(std::initializer_list<attribute> all) {
  uint32_t out = 0;
  for (auto each : all) out |= 1u << each;
  return out;
}

struct verb_row {
  send_verb verb;
  uint32_t needs;
};
constexpr verb_row verbs[] = {
    {send_verb::subvolume, set_of({a_path, a_id})},
    {send_verb::snapshot, set_of({a_path, a_id, a_clone_id})},
    {send_verb::make_file, set_of({a_path})},
    {send_verb::make_directory, set_of({a_path})},
    {send_verb::make_node, set_of({a_path, a_mode, a_device})},
    {send_verb::make_fifo, set_of({a_path})},
    {send_verb::make_socket, set_of({a_path})},
    {send_verb::symlink, set_of({a_path, a_link})},
    {send_verb::rename, set_of({a_path, a_to})},
    {send_verb::link, set_of({a_path, a_link})},
    {send_verb::unlink, set_of({a_path})},
    {send_verb::remove_directory, set_of({a_path})},
    {send_verb::set_xattr, set_of({a_path, a_xattr_name, a_xattr_data})},
    {send_verb::remove_xattr, set_of({a_path, a_xattr_name})},
    {send_verb::write, set_of({a_path, a_offset, a_data})},
    {send_verb::clone, set_of({a_path, a_offset, a_clone_size, a_clone_id, a_clone_path, a_clone_offset})},
    {send_verb::truncate, set_of({a_path, a_size})},
    {send_verb::change_mode, set_of({a_path, a_mode})},
    {send_verb::change_owner, set_of({a_path, a_owner, a_group})},
    {send_verb::set_times, set_of({a_path, a_modified, a_accessed})},
    {send_verb::end, 0},
};

constexpr std::array<uint32_t, 256> castagnoli() {
  std::array<uint32_t, 256> out{};
  for (uint32_t i = 0; i < out.size(); ++i) {
    uint32_t sum = i;
    for (int bit = 0; bit < 8; ++bit) sum = sum & 1 ? sum >> 1 ^ 0x82f63b78 : sum >> 1;
    out[i] = sum;
  }
  return out;
}

// The kernel's: from 0, and not inverted.
uint32_t sum_of(const char* data, size_t size) {
  static constexpr auto table = castagnoli();
  uint32_t sum = 0;
  for (size_t i = 0; i < size; ++i) sum = table[(sum ^ static_cast<unsigned char>(data[i])) & 0xff] ^ sum >> 8;
  return sum;
}

template <class Number>
Number number_at(const char* data) {
  Number out;
  std::memcpy(&out, data, sizeof out);
  if constexpr (sizeof out == 2) return le16toh(out);
  if constexpr (sizeof out == 4) return le32toh(out);
  if constexpr (sizeof out == 8) return le64toh(out);
}

tl::unexpected<error> broken(const char* how) {
  return fail(fault::invalid, std::string{"The stream is broken: "} + how);
}

outcome<attributes> attributes_in(std::string_view body) {
  attributes out;
  while (!body.empty()) {
    if (body.size() < 4) return broken("an attribute is cut off");
    auto number = number_at<uint16_t>(body.data());
    size_t size = number_at<uint16_t>(body.data() + 2);
    body.remove_prefix(4);
    if (size > body.size()) return broken("an attribute is longer than its command");
    if (number > 0 && number < attribute_end) {
      if (out[number]) return broken("an attribute comes twice");
      out[number] = body.substr(0, size);
    }
    body.remove_prefix(size);
  }
  return out;
}

/// Attributes that must have a size; what is absent stays as it was.
class typed {
public:
  explicit typed(const attributes& all) : all_{all} {}
  void text(attribute which, std::string_view& into) {
    if (all_[which]) into = *all_[which];
  }
  void number(attribute which, uint64_t& into) {
    if (of_size(which, 8)) into = number_at<uint64_t>(all_[which]->data());
  }
  void time(attribute which, timespec& into) {
    if (!of_size(which, 12)) return;
    into.tv_sec = static_cast<time_t>(number_at<uint64_t>(all_[which]->data()));
    auto rest = number_at<uint32_t>(all_[which]->data() + 8);
    good_ = good_ && rest < billion;
    into.tv_nsec = rest;
  }
  void id(attribute which, subvolume_id& into) {
    if (of_size(which, into.size())) std::memcpy(into.data(), all_[which]->data(), into.size());
  }
  bool good() const { return good_; }

private:
  bool of_size(attribute which, size_t size) {
    if (!all_[which]) return false;
    good_ = good_ && all_[which]->size() == size;
    return good_;
  }
  const attributes& all_;
  bool good_ = true;
};

outcome<send_command> command_of(uint16_t number, const attributes& all) {
  auto row = std::find_if(std::begin(verbs), std::end(verbs),
                          [&](auto& each) { return static_cast<uint16_t>(each.verb) == number; });
  if (row == std::end(verbs))
    return fail(fault::unsupported, "The stream has a command that is not known (" + std::to_string(number) + ")");
  for (uint16_t each = 0; each < attribute_end; ++each)
    if (row->needs >> each & 1 && !all[each]) return broken("an attribute is missing");
  send_command out;
  out.verb = row->verb;
  typed from{all};
  from.text(a_path, out.path);
  from.text(a_to, out.to);
  from.text(a_link, out.link);
  from.text(a_xattr_name, out.xattr);
  from.text(row->verb == send_verb::set_xattr ? a_xattr_data : a_data, out.data);
  from.text(a_clone_path, out.clone_path);
  from.number(a_offset, out.offset);
  from.number(a_size, out.size);
  from.number(a_mode, out.mode);
  from.number(a_owner, out.owner);
  from.number(a_group, out.group);
  from.number(a_device, out.device);
  from.number(a_clone_offset, out.clone_offset);
  from.number(a_clone_size, out.clone_size);
  from.time(a_accessed, out.accessed);
  from.time(a_modified, out.modified);
  from.id(a_id, out.id);
  from.id(a_clone_id, out.clone_id);
  return from.good() ? outcome<send_command>{out} : broken("an attribute has another size");
}

} // namespace

std::string text_of(const subvolume_id& id) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < id.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += digits[id[i] >> 4];
    out += digits[id[i] & 15];
  }
  return out;
}

std::optional<subvolume_id> parse_subvolume_id(std::string_view text) {
  subvolume_id out{};
  size_t at = 0;
  for (char c : text) {
    if (c == '-') continue;
    int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value < 0 || at >= 2 * out.size()) return std::nullopt;
    auto& byte = out[at++ / 2];
    byte = static_cast<unsigned char>(byte << 4 | value);
  }
  return at == 2 * out.size() ? std::optional{out} : std::nullopt;
}

outcome<void> send_stream::read(char* into, size_t size) {
  while (size > 0) {
    auto n = ::read(fd_, into, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "Cannot read the stream");
    if (n == 0) return broken("it is cut off");
    into += n;
    size -= static_cast<size_t>(n);
    bytes_ += static_cast<uint64_t>(n);
  }
  return {};
}

outcome<void> send_stream::read_head() {
  char head[sizeof magic + 4];
  if (auto done = read(head, sizeof head); !done) return done;
  if (std::memcmp(head, magic, sizeof magic) != 0) return fail(fault::invalid, "This is no stream of btrfs send");
  auto of = number_at<uint32_t>(head + sizeof magic);
  if (of != version) return fail(fault::unsupported, "Streams of version " + std::to_string(of) + " are not supported");
  begun_ = true;
  return {};
}

outcome<send_command> send_stream::next() {
  if (!begun_)
    if (auto done = read_head(); !done) return tl::unexpected{done.error()};
  frame_.resize(frame_max);
  if (auto done = read(frame_.data(), head_size); !done) return tl::unexpected{done.error()};
  size_t size = number_at<uint32_t>(frame_.data());
  auto number = number_at<uint16_t>(frame_.data() + 4);
  auto sum = number_at<uint32_t>(frame_.data() + sum_at);
  if (size > frame_max - head_size) return broken("a command is too long");
  if (auto done = read(frame_.data() + head_size, size); !done) return tl::unexpected{done.error()};
  std::memset(frame_.data() + sum_at, 0, sizeof sum);
  if (sum_of(frame_.data(), head_size + size) != sum) return broken("a checksum is wrong");
  auto all = attributes_in({frame_.data() + head_size, size});
  if (!all) return tl::unexpected{all.error()};
  return command_of(number, *all);
}

} // namespace troupe
