#include "backends/image/qcow2_header.hpp"

#include <string>

namespace troupe {
namespace {

constexpr std::string_view magic{"QFI\xfb", 4};
constexpr size_t header_v2 = 72, header_v3 = 104;
constexpr uint64_t l1_bytes_max = 32 << 20; // what qemu accepts
enum incompatible : uint64_t { dirty = 1, corrupt = 2, data_elsewhere = 4, other_compression = 8, long_entries = 16 };
constexpr uint64_t known = dirty | corrupt | data_elsewhere | other_compression | long_entries;

tl::unexpected<error> refuse(const std::string& why) { return fail(fault::invalid, "The disk of the image " + why); }

uint64_t number(std::string_view head, size_t offset, size_t bytes) {
  uint64_t out = 0;
  for (size_t i = 0; i < bytes; ++i) out = out << 8 | static_cast<unsigned char>(head[offset + i]);
  return out;
}

struct header {
  std::string_view head;
  uint64_t u32(size_t offset) const { return number(head, offset, 4); }
  uint64_t u64(size_t offset) const { return number(head, offset, 8); }
  uint64_t version() const { return u32(4); }
  bool backed() const { return u64(8) != 0; }
  uint64_t cluster_bits() const { return u32(20); }
  uint64_t size() const { return u64(24); }
  bool encrypted() const { return u32(32) != 0; }
  uint64_t l1_entries() const { return u32(36); }
  uint64_t l1_offset() const { return u64(40); }
  uint64_t features() const { return version() > 2 ? u64(72) : 0; }
  uint64_t length() const { return version() > 2 ? u32(100) : header_v2; }
  unsigned compression() const {
    return length() > header_v3 && head.size() > header_v3 ? static_cast<unsigned char>(head[header_v3]) : 0;
  }
};

outcome<void> check_size(uint64_t size, uint64_t size_max) {
  if (size == 0) return refuse("is empty");
  if (size <= size_max) return {};
  return fail(fault::too_large, "The disk of the image has " + std::to_string(size) + " bytes, more than the " +
                                    std::to_string(size_max) + " that are allowed");
}

outcome<void> check_features(const header& h) {
  auto features = h.features();
  if (features & data_elsewhere) return refuse("keeps its data in another file");
  if (features & corrupt) return refuse("is marked as corrupt");
  if (features & ~known) return refuse("uses features of qcow2 that are not known here");
  if (h.compression() > 1 || ((features & other_compression) != 0) != (h.compression() != 0))
    return refuse("is compressed in a way that is not known here");
  return {};
}

/// The table that leads to everything else must be there, and long enough for the size.
outcome<void> check_table(const header& h, uint64_t file_size) {
  const uint64_t cluster = uint64_t{1} << h.cluster_bits();
  const uint64_t reach = cluster * (cluster / (h.features() & long_entries ? 16 : 8)); // bytes behind one entry
  const uint64_t wanted = h.size() / reach + (h.size() % reach != 0);
  const uint64_t bytes = h.l1_entries() * 8;
  if (h.l1_entries() < wanted || bytes > l1_bytes_max || h.l1_offset() == 0 || h.l1_offset() % cluster != 0)
    return refuse("has a table of clusters that does not fit its size");
  if (h.l1_offset() > file_size || bytes > file_size - h.l1_offset()) return refuse("is cut short");
  return {};
}

} // namespace

bool is_qcow2(std::string_view head) noexcept { return head.starts_with(magic); }

outcome<qcow2_facts> read_qcow2_header(std::string_view head, uint64_t file_size, uint64_t size_max) {
  if (!is_qcow2(head)) return refuse("is no qcow2 disk");
  const header h{head};
  if (head.size() < header_v2) return refuse("is cut short");
  if (h.version() != 2 && h.version() != 3)
    return refuse("is of version " + std::to_string(h.version()) + " of qcow, and only 2 and 3 can be read");
  if (h.version() == 3 && head.size() < header_v3) return refuse("is cut short");
  if (h.backed()) return refuse("builds on another file");
  if (h.encrypted()) return refuse("is encrypted");
  if (h.cluster_bits() < 9 || h.cluster_bits() > 21) return refuse("has clusters of a size that cannot be");
  if (h.version() == 3 &&
      (h.length() < header_v3 || h.length() % 8 != 0 || h.length() > uint64_t{1} << h.cluster_bits()))
    return refuse("has a header of a length that cannot be");
  if (auto ok = check_features(h); !ok) return tl::unexpected{ok.error()};
  if (auto ok = check_size(h.size(), size_max); !ok) return tl::unexpected{ok.error()};
  if (auto ok = check_table(h, file_size); !ok) return tl::unexpected{ok.error()};
  return qcow2_facts{h.size(), static_cast<uint32_t>(h.version())};
}

outcome<disk_facts> judge_disk(std::string_view head, uint64_t file_size, uint64_t size_max) {
  if (!is_qcow2(head)) {
    auto ok = check_size(file_size, size_max);
    return ok ? outcome<disk_facts>{disk_facts{false, file_size}} : tl::unexpected{ok.error()};
  }
  auto facts = read_qcow2_header(head, file_size, size_max);
  return facts ? outcome<disk_facts>{disk_facts{true, facts->size}} : tl::unexpected{facts.error()};
}

} // namespace troupe
