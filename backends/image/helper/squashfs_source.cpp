#include "backends/image/helper/sources.hpp"

#include <cerrno>
#include <cstring>
#include <memory>
#include <sqfs/block.h>
#include <sqfs/compressor.h>
#include <sqfs/data_reader.h>
#include <sqfs/dir.h>
#include <sqfs/dir_reader.h>
#include <sqfs/error.h>
#include <sqfs/id_table.h>
#include <sqfs/inode.h>
#include <sqfs/io.h>
#include <sqfs/super.h>
#include <sqfs/xattr.h>
#include <sqfs/xattr_reader.h>
#include <unistd.h>
#include <unordered_map>
#include <vector>

namespace troupe::unpack {
namespace {

constexpr size_t xattrs_size_max = 1 << 20; // of one file

struct destroy_object {
  void operator()(void* object) const { sqfs_destroy(object); }
};
template <class T>
using object = std::unique_ptr<T, destroy_object>;

struct free_memory {
  void operator()(void* memory) const { sqfs_free(memory); }
};
template <class T>
using memory = std::unique_ptr<T, free_memory>;

/// libsquashfs reads through this; it knows nothing of paths.
struct input : sqfs_file_t {
  const archive_file& file;
  report& to;

  input(const archive_file& f, report& r) : sqfs_file_t{}, file{f}, to{r} {
    base.destroy = [](sqfs_object_t*) {};
    read_at = [](sqfs_file_t* self, sqfs_u64 offset, void* out, size_t size) {
      return static_cast<input*>(self)->read(offset, static_cast<char*>(out), size);
    };
    get_size = [](const sqfs_file_t* self) -> sqfs_u64 { return static_cast<const input*>(self)->file.size; };
    write_at = [](sqfs_file_t*, sqfs_u64, const void*, size_t) -> int { return SQFS_ERROR_IO; };
    truncate = [](sqfs_file_t*, sqfs_u64) -> int { return SQFS_ERROR_IO; };
  }

  int read(uint64_t offset, char* out, size_t size) {
    if (offset > file.size || size > file.size - offset) return SQFS_ERROR_OUT_OF_BOUNDS;
    while (size > 0) {
      auto n = pread(file.fd, out, size, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return SQFS_ERROR_IO;
      out += n;
      size -= static_cast<size_t>(n);
      offset += static_cast<uint64_t>(n);
    }
    // Tables lie at the end and are read first: they say nothing about how far the files are.
    if (offset < tables_start) to.read_up_to(offset, file.base);
    return 0;
  }

  uint64_t tables_start = 0;
};

tl::unexpected<error> broken(int code) {
  if (code == SQFS_ERROR_ALLOC) return fail(fault::too_large, "The squashfs of the image needs too much memory");
  if (code == SQFS_ERROR_UNSUPPORTED)
    return fail(fault::unsupported, "The squashfs of the image uses a compression that is not built in");
  return fail(fault::invalid, "The squashfs of the image is broken (libsquashfs error " + std::to_string(-code) + ")");
}

struct child_entry {
  std::string name;
  memory<sqfs_inode_generic_t> inode;
};

struct pending_directory {
  std::string path;
  memory<sqfs_inode_generic_t> inode;
};

class walker {
public:
  walker(input& in, unpack_rules& rules, tree_sink& sink) : in_{in}, rules_{rules}, sink_{sink} {}
  outcome<void> open();
  outcome<void> walk();

private:
  outcome<void> list(const pending_directory& of);
  outcome<void> take(const std::string& path, memory<sqfs_inode_generic_t> inode);
  outcome<attributes> attributes_of(const sqfs_inode_generic_t& inode);
  outcome<void> read_xattrs(const sqfs_inode_generic_t& inode, attributes& out);
  outcome<void> copy_data(const sqfs_inode_generic_t& inode, uint64_t size);

  input& in_;
  unpack_rules& rules_;
  tree_sink& sink_;
  sqfs_super_t super_{};
  object<sqfs_compressor_t> compressor_;
  object<sqfs_id_table_t> ids_;
  object<sqfs_dir_reader_t> directories_;
  object<sqfs_data_reader_t> data_;
  object<sqfs_xattr_reader_t> xattrs_;
  std::vector<pending_directory> pending_;
  std::unordered_map<uint32_t, std::string> linked_; // files with more names: inode number -> first path
};

outcome<void> walker::open() {
  if (int e = sqfs_super_read(&super_, &in_); e != 0) return broken(e);
  if (super_.bytes_used > in_.file.size) return fail(fault::invalid, "The squashfs of the image is truncated");
  in_.tables_start = super_.inode_table_start;
  sqfs_compressor_config_t config;
  auto id = static_cast<SQFS_COMPRESSOR>(super_.compression_id);
  if (int e = sqfs_compressor_config_init(&config, id, super_.block_size, SQFS_COMP_FLAG_UNCOMPRESS); e != 0)
    return broken(e);
  sqfs_compressor_t* compressor = nullptr;
  if (int e = sqfs_compressor_create(&config, &compressor); e != 0) return broken(e);
  compressor_.reset(compressor);
  ids_.reset(sqfs_id_table_create(0));
  directories_.reset(sqfs_dir_reader_create(&super_, compressor, &in_, 0));
  data_.reset(sqfs_data_reader_create(&in_, super_.block_size, compressor, 0));
  if (!ids_ || !directories_ || !data_) return broken(SQFS_ERROR_ALLOC);
  if (int e = sqfs_id_table_read(ids_.get(), &in_, &super_, compressor); e != 0) return broken(e);
  if (int e = sqfs_data_reader_load_fragment_table(data_.get(), &super_); e != 0) return broken(e);
  if (super_.flags & SQFS_FLAG_NO_XATTRS) return {};
  xattrs_.reset(sqfs_xattr_reader_create(0));
  if (!xattrs_) return broken(SQFS_ERROR_ALLOC);
  if (int e = sqfs_xattr_reader_load(xattrs_.get(), &super_, &in_, compressor); e != 0) return broken(e);
  return {};
}

outcome<void> walker::walk() {
  sqfs_inode_generic_t* root = nullptr;
  if (int e = sqfs_dir_reader_get_root_inode(directories_.get(), &root); e != 0) return broken(e);
  if (auto ok = take(".", memory<sqfs_inode_generic_t>{root}); !ok) return ok;
  while (!pending_.empty()) {
    auto next = std::move(pending_.back());
    pending_.pop_back();
    if (auto ok = list(next); !ok) return ok;
  }
  return {};
}

outcome<void> walker::list(const pending_directory& of) {
  if (int e = sqfs_dir_reader_open_dir(directories_.get(), of.inode.get(), 0); e != 0) return broken(e);
  for (;;) {
    sqfs_dir_entry_t* raw = nullptr;
    int e = sqfs_dir_reader_read(directories_.get(), &raw);
    if (e > 0) return {};
    if (e < 0) return broken(e);
    memory<sqfs_dir_entry_t> entry{raw};
    std::string_view name{reinterpret_cast<const char*>(entry->name), size_t{entry->size} + 1};
    if (name == "." || name.find('/') != name.npos || name.find('\0') != name.npos)
      return fail(fault::invalid, "The squashfs of the image has a name that is none");
    sqfs_inode_generic_t* inode = nullptr;
    if (e = sqfs_dir_reader_get_inode(directories_.get(), &inode); e != 0) return broken(e);
    if (auto ok = take(of.path + "/" + std::string{name}, memory<sqfs_inode_generic_t>{inode}); !ok) return ok;
  }
}

entry_kind kind_of(const sqfs_inode_generic_t& inode) {
  switch (inode.base.type) {
    case SQFS_INODE_DIR:
    case SQFS_INODE_EXT_DIR:
      return entry_kind::directory;
    case SQFS_INODE_FILE:
    case SQFS_INODE_EXT_FILE:
      return entry_kind::file;
    case SQFS_INODE_SLINK:
    case SQFS_INODE_EXT_SLINK:
      return entry_kind::symlink;
    case SQFS_INODE_FIFO:
    case SQFS_INODE_EXT_FIFO:
      return entry_kind::fifo;
    default:
      return entry_kind::skipped;
  }
}

uint32_t link_count(const sqfs_inode_generic_t& inode) {
  switch (inode.base.type) {
    case SQFS_INODE_EXT_FILE:
      return inode.data.file_ext.nlink;
    case SQFS_INODE_SLINK:
      return inode.data.slink.nlink;
    case SQFS_INODE_EXT_SLINK:
      return inode.data.slink_ext.nlink;
    case SQFS_INODE_FIFO:
      return inode.data.ipc.nlink;
    case SQFS_INODE_EXT_FIFO:
      return inode.data.ipc_ext.nlink;
    default:
      return 1;
  }
}

std::string link_target(const sqfs_inode_generic_t& inode) {
  auto size = inode.base.type == SQFS_INODE_SLINK ? inode.data.slink.target_size : inode.data.slink_ext.target_size;
  return {reinterpret_cast<const char*>(inode.extra), std::min<size_t>(size, inode.payload_bytes_used)};
}

outcome<void> walker::take(const std::string& path, memory<sqfs_inode_generic_t> inode) {
  archive_entry_facts facts;
  facts.kind = kind_of(*inode);
  facts.path = path;
  std::string link;
  if (facts.kind == entry_kind::symlink) link = link_target(*inode);
  if (facts.kind != entry_kind::directory && facts.kind != entry_kind::skipped && link_count(*inode) > 1) {
    auto [at, first] = linked_.try_emplace(inode->base.inode_number, path);
    if (!first) {
      facts.kind = entry_kind::hardlink;
      link = at->second;
    }
  }
  facts.link = link;
  if (facts.kind == entry_kind::file) {
    sqfs_u64 size = 0;
    sqfs_inode_get_file_size(inode.get(), &size);
    facts.size = size;
  }
  auto where = rules_.admit(archive_form::rootfs, facts);
  if (!where) return tl::unexpected{where.error()};
  if (!*where) return {};
  auto attrs = attributes_of(*inode);
  if (!attrs) return tl::unexpected{attrs.error()};
  if (auto ok = emit(sink_, facts.kind, **where, *attrs, facts.size); !ok) return ok;
  if (facts.kind == entry_kind::directory) {
    pending_.push_back({path, std::move(inode)});
    return {};
  }
  if (facts.kind != entry_kind::file) return {};
  if (sink_.wants_data((*where)->path))
    if (auto ok = copy_data(*inode, facts.size); !ok) return ok;
  return sink_.end_file(*attrs);
}

outcome<attributes> walker::attributes_of(const sqfs_inode_generic_t& inode) {
  attributes out;
  if (int e = sqfs_id_table_index_to_id(ids_.get(), inode.base.uid_idx, &out.uid); e != 0) return broken(e);
  if (int e = sqfs_id_table_index_to_id(ids_.get(), inode.base.gid_idx, &out.gid); e != 0) return broken(e);
  if (out.uid > INT32_MAX || out.gid > INT32_MAX)
    return fail(fault::invalid, "The image has a file whose owner is out of range");
  out.mode = inode.base.mode & 07777;
  out.modified.tv_sec = inode.base.mod_time;
  if (auto ok = read_xattrs(inode, out); !ok) return tl::unexpected{ok.error()};
  return out;
}

outcome<void> walker::read_xattrs(const sqfs_inode_generic_t& inode, attributes& out) {
  sqfs_u32 index = UINT32_MAX;
  sqfs_inode_get_xattr_index(&inode, &index);
  if (!xattrs_ || index == UINT32_MAX) return {};
  sqfs_xattr_id_t list{};
  if (int e = sqfs_xattr_reader_get_desc(xattrs_.get(), index, &list); e != 0) return broken(e);
  if (int e = sqfs_xattr_reader_seek_kv(xattrs_.get(), &list); e != 0) return broken(e);
  size_t total = 0;
  for (uint32_t i = 0; i < list.count; ++i) {
    sqfs_xattr_entry_t* raw_key = nullptr;
    if (int e = sqfs_xattr_reader_read_key(xattrs_.get(), &raw_key); e != 0) return broken(e);
    memory<sqfs_xattr_entry_t> key{raw_key};
    sqfs_xattr_value_t* raw_value = nullptr;
    if (int e = sqfs_xattr_reader_read_value(xattrs_.get(), key.get(), &raw_value); e != 0) return broken(e);
    memory<sqfs_xattr_value_t> value{raw_value};
    total += 256 + value->size;
    if (total > xattrs_size_max)
      return fail(fault::too_large, "The image has a file with too many extended attributes");
    std::string name{reinterpret_cast<const char*>(key->key)};
    if (keeps_xattr(name))
      out.xattrs.emplace_back(name, std::string{reinterpret_cast<const char*>(value->value), value->size});
  }
  return {};
}

outcome<void> walker::copy_data(const sqfs_inode_generic_t& inode, uint64_t size) {
  const auto blocks = sqfs_inode_get_file_block_count(&inode);
  uint64_t offset = 0;
  for (size_t i = 0; i < blocks; ++i, offset += super_.block_size) {
    if (SQFS_IS_SPARSE_BLOCK(inode.extra[i])) continue;
    size_t length = 0;
    sqfs_u8* raw = nullptr;
    if (int e = sqfs_data_reader_get_block(data_.get(), &inode, i, &length, &raw); e != 0) return broken(e);
    memory<sqfs_u8> block{raw};
    if (auto ok = sink_.write(offset, reinterpret_cast<const char*>(raw), length); !ok) return ok;
  }
  if (offset >= size) return {};
  size_t length = 0;
  sqfs_u8* raw = nullptr;
  if (int e = sqfs_data_reader_get_fragment(data_.get(), &inode, &length, &raw); e != 0) return broken(e);
  memory<sqfs_u8> tail{raw};
  if (length == 0) return {};
  return sink_.write(offset, reinterpret_cast<const char*>(raw), length);
}

} // namespace

outcome<void> walk_squashfs(const archive_file& from, unpack_rules& rules, tree_sink& sink, report& to) {
  input in{from, to};
  walker w{in, rules, sink};
  if (auto ok = w.open(); !ok) return ok;
  return w.walk();
}

} // namespace troupe::unpack
